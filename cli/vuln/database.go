package vuln

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/module"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// database is the Go project's own.
	database = "https://vuln.go.dev"
	// source is the repository that it is made from, as a module.
	source = "golang.org/x/vulndb@latest"
	// reply is how long the database may take to answer before the module is taken.
	reply = 5 * time.Second
)

// findDatabase returns the database to ask, as govulncheck takes it, and its date if
// that is known already.
func findDatabase(ctx context.Context, cfg Config) (url, dated string, err error) {
	if cfg.Database != "" {
		url, err := given(cfg.Database)
		return url, "", err
	}
	unreached := answers(ctx, database)
	if unreached == nil {
		return database, "", nil
	}
	cfg.Say("fetching the database of known faults as a module, since " + database + " does not answer")
	dir, version, err := goModule(ctx, source)
	if err != nil {
		return "", "", proto.Errorf(proto.ErrUnavailable, "there is no database of known faults: %w; and fetch %s: %w", unreached, source, err).
			WithHint("name one with -vulndb: a URL, or the folder of a copy of golang.org/x/vulndb")
	}
	url, err = given(dir)
	if at, timeErr := module.PseudoVersionTime(version); timeErr == nil {
		dated = at.Format(time.DateOnly)
	}
	return url, dated, err
}

// given is the database that the user names: a URL, or a folder, which may be a copy of
// the repository that the Go project's own is made from.
func given(name string) (string, error) {
	for _, scheme := range []string{"https://", "http://", "file://"} {
		if strings.HasPrefix(name, scheme) {
			return name, nil
		}
	}
	dir, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", proto.Errorf(proto.ErrInvalid, "%s is neither a URL nor a folder", name).
			WithHint("name a database of known faults: https://vuln.go.dev, or the folder of a copy of golang.org/x/vulndb")
	}
	if entries := filepath.Join(dir, "data", "osv"); isFolder(entries) {
		dir = entries
	}
	return "file://" + filepath.ToSlash(dir), nil
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// answers asks a database for its date.
func answers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, reply)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url+"/index/db.json", http.NoBody)
	if err != nil {
		return err
	}
	client := &http.Transport{Proxy: http.ProxyFromEnvironment}
	defer client.CloseIdleConnections()
	rsp, err := client.RoundTrip(req)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	if rsp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, rsp.Status)
	}
	return nil
}
