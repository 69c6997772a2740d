"""A bank of accounts: `app` is the application, `demo` runs it under load, `check` judges the result from outside."""
