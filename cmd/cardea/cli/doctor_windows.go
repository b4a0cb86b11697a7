package cli

// Windows guards the folders of a profile by lists that its modes say nothing of.

func ofOthers(string) bool         { return false }
func writableByOthers(string) bool { return false }
