#include "textflag.h"

// func int80Call(call, a, b, c uint32) int32
TEXT ·int80Call(SB), NOSPLIT, $0-20
	MOVL	call+0(FP), AX
	MOVL	a+4(FP), BX
	MOVL	b+8(FP), CX
	MOVL	c+12(FP), DX
	INT	$0x80
	MOVL	AX, ret+16(FP)
	RET
