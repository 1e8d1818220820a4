package boot

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The test's own program imports this package, so running it again shows init.
func TestAnnouncesFirst(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want string
	}{
		{[]string{"RYO_MOUNT=/helloworld"}, "deploying at /helloworld\n"},
		{[]string{"RYO_MOUNT=/f", "RYO_LISTEN=nonsense"}, "deploying at /f\n"},
		{nil, ""},
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = c.env
		out, err := cmd.Output()
		require.NoError(t, err)
		assert.Equal(t, c.want+"PASS\n", string(out))
	}
}

func TestInherited(t *testing.T) {
	for text, want := range map[string]int{"": 0, "0": 1, "1": 2, "2": 3, "9": 10, "10": 0, "-": 0, "x": 0} {
		assert.Equal(t, want, inherited(text), text)
	}
}
