package bridge

import "time"

const (
	// kexTime bounds both key exchanges, and authTime them and both authentications, from the
	// first byte of SSH: a stranger holds no slot longer, and a person decides nothing here.
	kexTime  = 15 * time.Second
	authTime = 30 * time.Second
	// wideWrites is how many may write whole packets to one connection at a time; everybody
	// else writes narrowWrite bytes. With the 64 packets that the library queues while keys are
	// exchanged, that is 188 KiB.
	wideWrites  = 4
	narrowWrite = 1 << 10
	// recordTime is how long one event may take. The spool says by itself, and before, that a disk does
	// not keep up; a write that never returns it cannot end. hungTime is how long others get then.
	recordTime = 8 * time.Second
	hungTime   = time.Second
	// maxAuthTries is how often a user may show a wrong key. The right one is offered first
	// by the local agent, and by nobody else.
	maxAuthTries = 3
	// maxChannels bounds the channels of a session that live or wait to be opened, of both
	// directions. A browser behind -D has some dozens. Each may hold a window of 2 MiB each way,
	// which is what bounds the memory of a session whose streams nobody reads.
	maxChannels = 256
	// maxOpening bounds what the opening of a channel says, in bytes: two names of 1,025 (getnameinfo(3))
	// or a path. Each of maxChannels may wait for the other side with it.
	maxOpening = 4 << 10
	// maxEnv is how many variables one channel may set: sshd takes no more.
	maxEnv = 128
	// maxWaiting and maxWaitingBytes bound the requests of one channel behind one that has no
	// answer yet: ssh sends all variables at once, and a command may have 256 KiB.
	maxWaiting      = 1024
	maxWaitingBytes = 1 << 20
	// maxForwards bounds the listeners of -R.
	maxForwards = 256
	// maxRefusals is how many refusals of a session are recorded and told one by one; the
	// rest is counted. A program that is refused may try again for ever.
	maxRefusals = 1000
	// maxName bounds names that a peer chose, where they are written down.
	maxName = 64
	// maxReason bounds why a server did not open a channel; OpenSSH says a line.
	maxReason = 256
	// commandPart is how much of a command one event holds: JSON may make six bytes of each.
	commandPart = recordingMax / 8

	// chunk is what is read at once: the largest packet of SSH. idleChunk is what waits for
	// something to read, so that thousands of idle channels are cheap.
	chunk     = 32 << 10
	idleChunk = 1 << 10
	// libraryBuffer is the size of the buffer with which golang.org/x/crypto/ssh writes, that
	// of bufio.NewWriter.
	libraryBuffer = 4 << 10

	// exitPatience is how long an exit code waits for output that came before it: what has
	// come is here, so it is long enough to see that nobody takes any.
	exitPatience = 10 * time.Millisecond
	// exitLimit is how long it waits where output goes on, or is not read: ssh waits for that
	// in any case, and the code behind it.
	exitLimit = 2 * time.Second
	// endPatience is how long the end of a program's output waits for its exit code, where the
	// user may be waiting for the end.
	endPatience = 2 * time.Second
	// lastWords is how long a user may take to read what the server said before it went.
	lastWords = 20 * time.Second
	// sentenceTime bounds telling users why their session ends, finishTime closing.
	sentenceTime = 2 * time.Second
	finishTime   = 2 * time.Second
	// readTime is what ssh needs to print a sentence before a refusal ends it.
	readTime = 30 * time.Millisecond
	// drainLook is how soon it is seen that a user has read all.
	drainLook = 5 * time.Millisecond
)
