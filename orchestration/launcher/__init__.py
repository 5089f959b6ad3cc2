"""What `tradewind run` starts and watches."""
