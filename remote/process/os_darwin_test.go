package process

func role([]string) (code int, is bool) { return 0, false }
