package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestSplitAccountsForTheWholeDeploy(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	parts := split(at(0), []mark{{"queued", at(10)}, {"building", at(11)}, {"starting", at(400)}, {"", at(405)}}, at(407))

	assert.Equal(t, map[string]time.Duration{
		sending:    10 * time.Millisecond,
		"queued":   time.Millisecond,
		"building": 389 * time.Millisecond,
		"starting": 5 * time.Millisecond,
		answering:  2 * time.Millisecond,
	}, parts)
}
