#include "go_asm.h"
#include "textflag.h"

// func forkAndCall(number, arg1, arg2 uintptr, first *call, n uintptr) (pid uintptr)
//
// The child shares the memory and the stack of its parent, which waits for it, so it
// keeps all that it needs in registers. The kernel changes R0 alone.
TEXT ·forkAndCall(SB), NOSPLIT|NOFRAME, $0-48
	MOVD number+0(FP), R8
	MOVD arg1+8(FP), R0
	MOVD arg2+16(FP), R1
	MOVD $0, R2
	MOVD $0, R3
	MOVD $0, R4
	MOVD $0, R5
	MOVD first+24(FP), R9
	MOVD n+32(FP), R10
	SVC
	CBZ  R0, next
	MOVD R0, pid+40(FP)
	RET

next:
	MOVD call_number(R9), R8
	MOVD (call_args+0)(R9), R0
	MOVD (call_args+8)(R9), R1
	MOVD (call_args+16)(R9), R2
	MOVD (call_args+24)(R9), R3
	MOVD (call_args+32)(R9), R4
	MOVD (call_args+40)(R9), R5
	SVC
	MOVD R0, call_result(R9)
	MOVD call_store(R9), R11
	CBZ  R11, stored
	MOVW R0, (R11)
stored:
	CMN  $4095, R0
	BCC  done
	MOVD call_optional(R9), R11
	CBZ  R11, exit
done:
	ADD  $call__size, R9
	SUB  $1, R10
	CBNZ R10, next

exit:
	MOVD $94, R8 // exit_group
	MOVD $97, R0
	SVC
	B exit
