package main

// Names of the ways to the server, as the tables show them.
const (
	wayDirect   = "plain ssh"
	wayOwn      = "plain ssh, account of the server"
	wayCopy     = "bare ProxyCommand"
	wayBarePass = "bare ProxyCommand, descriptor"
	wayJump     = "ssh -J"
	wayPipe     = "Cardea, ssh"
	wayPass     = "Cardea, cardea ssh"
)

// Rows of other tables.
const (
	engineSQLite   = "SQLite"
	enginePostgres = "PostgreSQL"

	startVersion = "cardea version"
	readOne      = "ssh -G, one server"
	readMany     = "ssh -G, 5,000 servers"
	startHelper  = "cardea proxycommand"
	startList    = "cardea ls"

	manyList     = "cardea ls"
	manyJSON     = "cardea ls -o json"
	manyComplete = "completion of a name"
	manyPaint    = "picker, first servers"
	manyKey      = "picker, key to frame"

	crowdPlain = "people"
	crowdSudo  = "people with sudo commands"
	grantRow   = "grant"
)
