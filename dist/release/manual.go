package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// home stands for the user's folder while programs print their help.
const home = "/home/you"

// describe returns manual pages and completions, by their names in an archive. Programs
// print them, in an environment that is the same everywhere.
func describe(ctx context.Context, ps programs, when time.Time) (map[string][]byte, error) {
	paths := map[string]string{}
	for _, p := range ps {
		path, err := filepath.Abs(p.path)
		if err != nil {
			return nil, err
		}
		paths[p.name] = path
	}
	says := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, paths[args[0]], args[1:]...) //nolint:gosec // it was built here
		cmd.Env = []string{"HOME=" + home, "PATH=/usr/bin:/bin"}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		said, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("%v: %w\n%s", args, err, stderr.Bytes())
		}
		return strings.ReplaceAll(string(said), home, "~"), nil
	}

	texts := map[string][]byte{}
	for shell, name := range map[string]string{"bash": "proxyCli.bash", "zsh": "_proxyCli", "fish": "proxyCli.fish", "powershell": "proxyCli.ps1"} {
		script, err := says("proxyCli", "completion", shell)
		if err != nil {
			return nil, err
		}
		texts["completions/"+name] = []byte(script)
	}

	first, err := says("proxyCli", "-help")
	if err != nil {
		return nil, err
	}
	root := parseHelp(first)
	page := func(name, section string, helps ...help) {
		texts["man/man"+section+"/"+name+"."+section] = manual(name, section, when, helps...)
	}
	page("proxyCli", "1", root)
	for _, name := range root.commands() {
		text, err := says("proxyCli", name, "-help")
		if err != nil {
			return nil, err
		}
		helps := []help{parseHelp(text)}
		for _, below := range helps[0].commands() {
			text, err := says("proxyCli", name, below, "-help")
			if err != nil {
				return nil, err
			}
			helps = append(helps, parseHelp(text))
		}
		page("proxyCli-"+name, "1", helps...)
	}
	// Where an archive is for Linux alone, its programs have to run to say what they do.
	for name, commands := range map[string][][]string{"agent": {{"agent"}}, "proxy": {{"proxy"}, {"proxy", "engine"}}} {
		if paths[name] == "" {
			continue
		}
		var helps []help
		for _, c := range commands {
			text, err := says(append(c, "-help")...)
			if err != nil {
				return nil, err
			}
			helps = append(helps, parseHelp(text))
		}
		page("ryo-"+name, "8", helps...)
	}
	return texts, nil
}

// help is what a program prints about itself or a command.
type help struct {
	name, summary string
	usage         []string // lines
	text          []string // paragraphs
	parts         []part   // such as Flags
}

type part struct {
	title string
	items [][2]string // what is typed, and what it means
	lines []string    // of examples
}

// commands are the names of the commands below.
func (h help) commands() (names []string) {
	for _, p := range h.parts {
		if p.title == "Commands" {
			for _, item := range p.items {
				name, _, _ := strings.Cut(item[0], " ")
				names = append(names, name)
			}
		}
	}
	return names
}

var (
	// opening is "proxyCli deploy: deploys …" or "agent builds …".
	opening = regexp.MustCompile(`^(?:([^:]+):|(agent|proxy engine|proxy)) (.*)$`)
	gap     = regexp.MustCompile(` {2,}`)
)

// parseHelp reads help as all three programs print it: one sentence, paragraphs, the
// usage, and lists whose items are indented by two spaces and described beside or below.
func parseHelp(text string) help {
	var h help
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if m := opening.FindStringSubmatch(lines[0]); m != nil {
		h.name, h.summary = m[1]+m[2], strings.TrimSuffix(m[3], ".")
	}
	var at *part
	for i := 1; i < len(lines); i++ {
		line := lines[i]
		usage, isUsage := strings.CutPrefix(line, "Usage: ")
		bare := strings.TrimLeft(line, " ")
		depth := len(line) - len(bare)
		switch {
		case isUsage:
			h.usage = append(h.usage, usage)
			for ; i+1 < len(lines) && strings.HasPrefix(lines[i+1], "       "); i++ {
				h.usage = append(h.usage, strings.TrimSpace(lines[i+1]))
			}
		case h.usage == nil && bare == "":
			h.text = append(h.text, "")
		case h.usage == nil && len(h.text) > 0:
			last := &h.text[len(h.text)-1]
			*last = strings.TrimSpace(*last + " " + bare)
		case depth == 0 && bare != "":
			title, _, _ := strings.Cut(strings.TrimSuffix(bare, ":"), ",")
			h.parts = append(h.parts, part{title: title})
			at = &h.parts[len(h.parts)-1]
		case at == nil || bare == "":
		case at.title == "Examples":
			at.lines = append(at.lines, line[2:])
		case depth == 2:
			words := gap.Split(bare, 2)
			at.items = append(at.items, [2]string{words[0], strings.Join(words[1:], "")})
		case len(at.items) > 0:
			last := &at.items[len(at.items)-1][1]
			*last = strings.TrimSpace(*last + " " + bare)
		}
	}
	h.text = slices.DeleteFunc(h.text, func(paragraph string) bool { return paragraph == "" })
	return h
}

// manual is a page in the language of man(7): of the first help, and of those of its
// commands. Flags of every command are on the page of the program.
func manual(name, section string, when time.Time, helps ...help) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH %s %s %s ryo-faas\n.SH NAME\n%s \\- %s\n", roff(name), section, when.Format(time.DateOnly), roff(name), roff(helps[0].summary))
	if section == "8" {
		fmt.Fprintf(&b, ".PP\nThis is the program %s of RunYourOwn\\-FaaS; packages call it %s.\n", roff(helps[0].name), roff(name))
	}
	for i, h := range helps {
		heading := ".SH"
		if i == 0 {
			b.WriteString(".SH SYNOPSIS\n")
			usage(&b, h.usage)
			if len(h.text) > 0 {
				b.WriteString(".SH DESCRIPTION\n")
			}
		} else {
			heading = ".SS"
			fmt.Fprintf(&b, ".SH %s\n%s\n", roff(h.name), roff("This command "+h.summary+"."))
			usage(&b, h.usage)
		}
		for n, paragraph := range h.text {
			if n > 0 || i > 0 {
				b.WriteString(".PP\n")
			}
			b.WriteString(roff(paragraph) + "\n")
		}
		for _, p := range h.parts {
			if p.title == "Flags of every command" {
				continue
			}
			title := p.title
			if i == 0 {
				title = strings.ToUpper(title)
			}
			fmt.Fprintf(&b, "%s %s\n", heading, roff(title))
			for _, item := range p.items {
				fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(item[0]), roff(item[1]))
			}
			if len(p.lines) > 0 {
				b.WriteString(".nf\n")
				for _, line := range p.lines {
					fmt.Fprintf(&b, "%s\n", roff(line))
				}
				b.WriteString(".fi\n")
			}
		}
	}
	switch {
	case name == "proxyCli":
		b.WriteString(".SH SEE ALSO\nEach command has a page, such as\n.BR proxyCli\\-deploy (1).\n")
	case section == "1":
		b.WriteString(".SH SEE ALSO\n.BR proxyCli (1)\nhas the flags of every command and the exit codes.\n")
	default:
		b.WriteString(".SH SEE ALSO\n.BR proxyCli (1)\n")
	}
	return b.Bytes()
}

func usage(b *bytes.Buffer, lines []string) {
	b.WriteString(".nf\n")
	for _, line := range lines {
		fmt.Fprintf(b, "%s\n", roff(line))
	}
	b.WriteString(".fi\n")
}

// roff writes text so that nothing in it is a command of roff, and dashes can be copied.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
