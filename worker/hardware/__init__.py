"""What this machine has to run engines on."""
