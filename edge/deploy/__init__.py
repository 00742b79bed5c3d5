"""On the host: bring a bundle to devices, over OpenSSH."""
