"""Alerts: stored in an outbox, decided by a policy, sent to channels. A caller needs Alert and AlertDispatcher."""
