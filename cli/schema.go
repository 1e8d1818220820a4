package cli

import (
	"bytes"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
)

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "prints the JSON Schema of definition files, for editors",
		Long: `
With the schema an editor knows the keys and settings of deploy.json and deploy.yaml, says
what they mean and marks mistakes. A definition names it itself:

  {"$schema": "./deploy.schema.json", "deploy": [...]}      JSON
  # yaml-language-server: $schema=deploy.schema.json         YAML`,
		Example: "\n  proxyCli schema > deploy.schema.json",
		Args:    noArgument,
		RunE: func(*cobra.Command, []string) error {
			data, err := json.Marshal(definitionSchema())
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := json.Indent(&text, data, "", "  "); err != nil {
				return err
			}
			_, err = a.stdout.Write(append(text.Bytes(), '\n'))
			return err
		},
	}
}

// schema is a JSON Schema, or a part of one.
type schema map[string]any

// definitionSchema is the schema of definition files. It says what a key may be, not all
// that a value must be: the check of proxyCli and the servers know more. Draft 7 is what
// editors have whole.
func definitionSchema() schema {
	object := func(properties schema, more schema) schema {
		s := schema{"type": "object", "properties": properties, "additionalProperties": false}
		for k, v := range more {
			s[k] = v
		}
		return s
	}
	names := object(schema{"name": texts("names of functions")}, schema{"required": []string{"name"}})
	s := object(schema{
		schemaKey: schema{"type": "string", "description": "this schema, for editors"},
		"app":     schema{"type": "string", "description": "what all functions of the file are a part of, such as shop"},
		"deploy": schema{
			"type": "array", "minItems": 1, "items": schema{"$ref": "#/definitions/function"},
			"description": "functions to deploy",
		},
		"list": described(object(schema{"agentAddr": texts("agents whose functions are shown; none: all")}, nil), "shows what is deployed"),
		"stop": described(names, "functions to stop"),
		"log":  described(names, "functions whose log is shown"),
	}, schema{"anyOf": []schema{{"required": []string{"deploy"}}, {"required": []string{"list"}}, {"required": []string{"stop"}}, {"required": []string{"log"}}}})
	s[schemaKey] = "http://json-schema.org/draft-07/schema#"
	s["title"] = "Definition file of proxyCli"
	function := schema{
		"name":       schema{"type": "string", "description": "the exported Go name, such as HelloWorld; default: made of target"},
		"packageDir": schema{"type": "string", "minLength": 1, "description": "the package's folder, from the file's own; default: the folder of filePath"},
		"filePath":   schema{"type": "string", "minLength": 1, "description": "the file that declares the function; default: the package is searched"},
		"agentAddr":  texts("agents that run it, such as localhost:9000, a replica on each; default: the proxy chooses"),
		"envFile":    texts("files with lines NAME=value, from the file's own folder, for env"),
	}
	for _, setting := range proto.Settings() {
		function[setting.Name] = settingSchema(setting)
	}
	s["definitions"] = schema{"function": object(function, schema{
		"anyOf": []schema{{"required": []string{"packageDir"}}, {"required": []string{"filePath"}}},
	})}
	return s
}

func described(s schema, text string) schema {
	described := schema{"description": text}
	for k, v := range s {
		described[k] = v
	}
	return described
}

// texts is a list of strings, or one.
func texts(description string) schema {
	one := schema{"type": "string", "minLength": 1}
	return schema{"description": description, "anyOf": []schema{one, {"type": "array", "items": one}}}
}

// settingSchema is the schema of a setting's values.
func settingSchema(s proto.Setting) schema {
	text := s.Help + "; default: " + s.Default
	variables := func(value schema) schema {
		return schema{"type": "object", "additionalProperties": value, "description": text}
	}
	switch s.Form {
	case proto.Count:
		return schema{"type": "integer", "minimum": 0, "maximum": 1<<32 - 1, "description": text}
	case proto.Switch:
		return schema{"type": "boolean", "description": text}
	case proto.Share:
		return schema{"description": text, "anyOf": []schema{{"type": "integer", "minimum": 0}, {"type": "string"}}}
	case proto.List:
		return texts(text)
	case proto.Secrets:
		return variables(schema{"type": "string", "pattern": `^(env|file):.|\$\{`, "description": referenceHint})
	case proto.Variables, proto.Labels:
		return variables(schema{"type": "string"})
	}
	one := schema{"type": "string", "description": text}
	if words := s.Words(); words != nil {
		// A variable of the environment may stand for it.
		one["anyOf"] = []schema{{"enum": words}, {"pattern": `\$\{`}}
	}
	return one
}
