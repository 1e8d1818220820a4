package server

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/openapi"
)

const (
	// typesWait bounds how long a document waits for the types of functions: those that are
	// not known by then are in the next one.
	typesWait = 3 * time.Second
	// typesAsked bounds the functions whose versions are asked for at once.
	typesAsked = 8
	// maxTypesKept bounds the functions whose types are remembered.
	maxTypesKept = 2 * openapi.MaxFunctions
)

// documentFor returns the document with the functions that a caller may see.
func (s *server) documentFor(ctx context.Context) ([]byte, error) {
	rows, err := s.service.impl.Details(ctx)
	if err != nil { // all else is said all the same
		s.logger.Debug("a document has no functions", "error", err)
		rows = nil
	}
	rows = slices.DeleteFunc(rows, func(row *proto.FunctionJsonRsp) bool { return len(row.GetServing()) == 0 })
	rows = slices.CompactFunc(rows, func(a, b *proto.FunctionJsonRsp) bool { return proto.Path(a.GetName()) == proto.Path(b.GetName()) })
	described := rows[:min(len(rows), openapi.MaxFunctions)]
	types := s.types.of(ctx, s.service.impl, described)
	proxied := slices.ContainsFunc(s.cfg.Mounts, func(m Mount) bool { return m.Path == functionsPath })
	functions := make([]openapi.Function, len(rows))
	for i, row := range described {
		fn := openapi.Function{
			Name: row.GetName(), Kind: row.GetKind(), Version: row.GetVersion(), Types: types[i],
			Public: row.Public(), Path: "/" + proto.Path(row.GetName()),
		}
		switch u, err := url.Parse(row.GetUrl()); {
		case proxied:
			fn.Path = strings.TrimSuffix(functionsPath, "/") + fn.Path
		case err == nil && u.Host != "": // a service of its own
			fn.Server = u.Scheme + "://" + u.Host
		}
		functions[i] = fn
	}
	data, err := json.Marshal(openapi.WithFunctions(s.described(), functions))
	if err != nil {
		return nil, proto.Errorf(proto.ErrInternal, "write the OpenAPI document: %w", err)
	}
	return data, nil
}

// functionsPath is where a proxy serves functions.
const functionsPath = "/functions/"

// knownTypes are those of typed functions, which are no part of rows. The zero value is
// ready to use.
type knownTypes struct {
	mu   sync.Mutex // guards the field below
	kept map[string]knownType
}

// knownType is what was said of the program of a version, which never changes.
type knownType struct {
	program string
	types   []byte
}

// of returns what is known of the types of each function.
func (k *knownTypes) of(ctx context.Context, impl transport.Interface, rows []*proto.FunctionJsonRsp) [][]byte {
	ctx, cancel := context.WithTimeout(ctx, typesWait)
	defer cancel()
	types := make([][]byte, len(rows))
	asked := make(chan struct{}, typesAsked)
	var all sync.WaitGroup
	for i, row := range rows {
		if kind := row.GetKind(); kind != proto.KindTyped && kind != proto.KindEvent {
			continue
		}
		if known, ok := k.get(row); ok {
			types[i] = known
			continue
		}
		select {
		case asked <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		all.Go(func() {
			defer func() { <-asked }()
			list, err := impl.Versions(ctx, row.GetName())
			if err != nil {
				return // as of a function that is being removed
			}
			for _, v := range list {
				if v.GetVersion() == row.GetVersion() && v.GetPackage() == row.GetPackage() && v.GetError() == "" {
					types[i] = []byte(v.GetTypes())
					k.put(row, types[i])
					return
				}
			}
		})
	}
	all.Wait()
	return types
}

// programOf names the program that a row's types are of.
func programOf(row *proto.FunctionJsonRsp) string {
	return row.GetPackage() + " " + row.GetProgram().GetKey() + " " + row.GetProgram().GetDigest()
}

func (k *knownTypes) get(row *proto.FunctionJsonRsp) ([]byte, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.kept[proto.Path(row.GetName())]
	return known.types, ok && known.program == programOf(row)
}

func (k *knownTypes) put(row *proto.FunctionJsonRsp, types []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept == nil || len(k.kept) >= maxTypesKept { // those that are asked for are found again
		k.kept = make(map[string]knownType)
	}
	k.kept[proto.Path(row.GetName())] = knownType{programOf(row), types}
}
