"""Budget notices that leave the process: to Slack, and to webhooks."""
