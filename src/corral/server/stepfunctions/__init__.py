"""The Step Functions API: `boto3.client("stepfunctions", endpoint_url=…)` works against this server unchanged."""
