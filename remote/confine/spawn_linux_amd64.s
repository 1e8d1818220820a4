#include "go_asm.h"
#include "textflag.h"

// func forkAndCall(number, arg1, arg2 uintptr, first *call, n uintptr) (pid uintptr)
//
// The child shares the memory and the stack of its parent, which waits for it, so it
// keeps all that it needs in registers. The kernel changes AX, CX and R11 alone.
TEXT ·forkAndCall(SB), NOSPLIT|NOFRAME, $0-48
	MOVQ number+0(FP), AX
	MOVQ arg1+8(FP), DI
	MOVQ arg2+16(FP), SI
	MOVQ $0, DX
	MOVQ $0, R10
	MOVQ $0, R8
	MOVQ $0, R9
	MOVQ first+24(FP), R12
	MOVQ n+32(FP), R13
	SYSCALL
	TESTQ AX, AX
	JEQ next
	MOVQ AX, pid+40(FP)
	RET

next:
	MOVQ call_number(R12), AX
	MOVQ (call_args+0)(R12), DI
	MOVQ (call_args+8)(R12), SI
	MOVQ (call_args+16)(R12), DX
	MOVQ (call_args+24)(R12), R10
	MOVQ (call_args+32)(R12), R8
	MOVQ (call_args+40)(R12), R9
	SYSCALL
	MOVQ AX, call_result(R12)
	MOVQ call_store(R12), R8
	TESTQ R8, R8
	JEQ stored
	MOVL AX, (R8)
stored:
	CMPQ AX, $-4095
	JCS done
	CMPQ call_optional(R12), $0
	JEQ exit
done:
	ADDQ $call__size, R12
	DECQ R13
	JNE next

exit:
	MOVQ $231, AX // exit_group
	MOVQ $97, DI
	SYSCALL
	JMP exit
