package store_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// Every key is one subject, and no two are the same.
func FuzzKeys(f *testing.F) {
	for _, key := range []string{"a/b", "a.b", "a=2Eb", "\x00\xff", "*", ">"} {
		f.Add(key)
	}
	subject := regexp.MustCompile(`^([-_=a-zA-Z0-9]+\.)*[-_=a-zA-Z0-9]+$`)
	f.Fuzz(func(t *testing.T, key string) {
		if back, ok := store.Decode(key); ok { // as a subject
			assert.Equal(t, key, store.Encode(back))
		}
		if store.CheckKey(key) != nil {
			return
		}
		assert.Regexp(t, subject, store.Encode(key))
		back, ok := store.Decode(store.Encode(key))
		assert.True(t, ok)
		assert.Equal(t, key, back)
	})
}

// What is no export is refused, whatever its digest says.
func FuzzExports(f *testing.F) {
	export := func(lines string, records int) string {
		return fmt.Sprintf("{\"format\":1,\"records\":%d,\"sha256\":\"%x\"}\n%s", records, sha256.Sum256([]byte(lines)), lines)
	}
	f.Add(export("", 0), false)
	f.Add("{\"kind\":\"functions\",\"key\":\"aGVsbG8=\",\"value\":\"eA==\"}\n", true)
	f.Add("{\"kind\":\"calls\",\"key\":\"aGVsbG8=\"}\n", true)
	f.Add("{\"kind\":\"functions\",\"key\":\"\"}\n", true)
	f.Fuzz(func(t *testing.T, text string, sealed bool) {
		if sealed {
			text = export(text, bytes.Count([]byte(text), []byte("\n")))
		}
		if _, err := store.ReadExport(bytes.NewReader([]byte(text))); err != nil {
			require.ErrorIs(t, err, proto.ErrInvalid)
		}
	})
}
