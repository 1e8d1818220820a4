package upgrade

import (
	"net"
	"os"
	"strings"
)

// notifySocket is how systemd names the socket on which it listens.
const notifySocket = "NOTIFY_SOCKET"

// Notify tells systemd how this process is, as sd_notify(3) says: READY=1, RELOADING=1,
// STATUS=…. Without systemd it does nothing.
func Notify(lines ...string) error {
	name := os.Getenv(notifySocket)
	if name == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(strings.Join(lines, "\n")))
	return err
}
