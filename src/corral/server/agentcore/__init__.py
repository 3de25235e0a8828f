"""AgentCore's memory API and control plane, as boto3's `bedrock-agentcore` and `bedrock-agentcore-control` speak them."""
