"""HTTP in: routes, wire formats, and the processes that listen. What an invocation does is `runtime`'s business."""
