"""Parts of the script that rebuilds the embedded corpus from Debian packages."""
