package cli

// sshConfigState is filled in when package sshconfig is there.
func (a *app) sshConfigState() string { return "not configured; type: cardea ssh-config --install" }
