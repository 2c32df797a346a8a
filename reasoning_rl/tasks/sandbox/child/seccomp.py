"""A seccomp allow-list for an interpreter that only computes.

No socket, no process, no program, no signal to others, no mount, no namespace,
no tracing, no keyring, no device control. What is not listed fails with EPERM,
so that an honest program sees an exception; a foreign calling convention kills.
"""

from __future__ import annotations

import ctypes
import errno
import os

import kernel

# Name, number on x86_64, number on aarch64 ("-": there is none).
_ALLOWED = """
read 0 63, write 1 64, open 2 -, openat 257 56, close 3 57, stat 4 -
fstat 5 80, lstat 6 -, newfstatat 262 79, statx 332 291, lseek 8 62
mmap 9 222, mprotect 10 226, munmap 11 215, brk 12 214, rt_sigaction 13 134
rt_sigprocmask 14 135, rt_sigreturn 15 139, rt_sigpending 127 136
sigaltstack 131 132, pread64 17 67, pwrite64 18 68, readv 19 65, writev 20 66
access 21 -, faccessat 269 48, faccessat2 439 439, pipe 22 -, pipe2 293 59
select 23 -, pselect6 270 72, poll 7 -, ppoll 271 73, epoll_create1 291 20
epoll_ctl 233 21, epoll_wait 232 -, epoll_pwait 281 22, sched_yield 24 124
mremap 25 216, madvise 28 233, dup 32 23, dup2 33 -, dup3 292 24
nanosleep 35 101, clock_nanosleep 230 115, getpid 39 172, getppid 110 173
gettid 186 178, exit 60 93, exit_group 231 94, uname 63 160, fcntl 72 25
fsync 74 82, fdatasync 75 83, truncate 76 45, ftruncate 77 46
getdents64 217 61, getcwd 79 17, chdir 80 49, fchdir 81 50, rename 82 -
renameat 264 38, renameat2 316 276, mkdir 83 -, mkdirat 258 34, rmdir 84 -
unlink 87 -, unlinkat 263 35, readlink 89 -, readlinkat 267 78, umask 95 166
gettimeofday 96 169, time 201 -, getrusage 98 165
times 100 153, sysinfo 99 179, getuid 102 174, geteuid 107 175, getgid 104 176
getegid 108 177, getresuid 118 148, getresgid 120 150, getpgrp 111 -
getpgid 121 155, getsid 124 156, getgroups 115 158, getrlimit 97 163
futex 202 98, set_robust_list 273 99, set_tid_address 218 96, rseq 334 293
restart_syscall 219 128, clock_gettime 228 113, clock_getres 229 114
getrandom 318 278, membarrier 324 283, sched_getaffinity 204 123
sched_getparam 143 121, sched_getscheduler 145 120, getcpu 309 168
fadvise64 221 223
"""
_CLONE, _CLONE3, _TGKILL = (56, 220), (435, 435), (234, 131)
_IOCTL, _PRLIMIT, _FCNTL = (16, 29), (302, 261), (72, 25)
_ARCHITECTURE = (0xC000003E, 0xC00000B7)

_CLONE_THREAD = 0x00010000
_CLONE_NEW_ANYTHING = 0x7E020080
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# Duplicates, flags and locks: not F_SETOWN, by which a file sends signals.
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 1030)

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCH, _FIRST, _SECOND = 0, 4, 16, 24
_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_FAIL = 0x00050000


class _Instruction(ctypes.Structure):
  _fields_ = [
    ("code", ctypes.c_uint16),
    ("if_true", ctypes.c_uint8),
    ("if_false", ctypes.c_uint8),
    ("operand", ctypes.c_uint32),
  ]


class _Program(ctypes.Structure):
  _fields_ = [
    ("length", ctypes.c_uint16),
    ("instructions", ctypes.POINTER(_Instruction)),
  ]


def allowed_numbers(column: int) -> list[int]:
  """Returns the system calls that need no look at their arguments.

  Args:
    column: 0 for x86_64, 1 for aarch64.
  """
  words = _ALLOWED.replace(",", " ").split()
  own = words[1 + column :: 3]
  checked = (_FCNTL[column],)
  return [int(n) for n in own if n != "-" and int(n) not in checked]


def filter_program(column: int, pid: int) -> list[tuple[int, int, int, int]]:
  """Returns the filter as classic BPF: (code, if true, if false, operand)."""
  allow, deny = (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _FAIL | errno.EPERM)
  program = [
    (_LOAD, 0, 0, _ARCH),
    (_EQUAL, 1, 0, _ARCHITECTURE[column]),
    (_RETURN, 0, 0, _KILL),
    (_LOAD, 0, 0, _NUMBER),
  ]

  def case(number, body):
    program.append((_EQUAL, 0, len(body), number))
    program.extend(body)

  def argument_in(offset, values):
    tests = [
      (_EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)
    ]
    return [(_LOAD, 0, 0, offset), *tests, deny, allow]

  # A thread of this process, in this process's namespaces, and no other child.
  is_thread = (_ANY_BIT, 0, 2, _CLONE_THREAD)
  is_new = (_ANY_BIT, 1, 0, _CLONE_NEW_ANYTHING)
  clone = [(_LOAD, 0, 0, _FIRST), is_thread, is_new, allow, deny]
  case(_CLONE[column], clone)
  # Its arguments lie in memory, out of the filter's sight: libc tries clone.
  case(_CLONE3[column], [(_RETURN, 0, 0, _FAIL | errno.ENOSYS)])
  case(_TGKILL[column], argument_in(_FIRST, (pid,)))
  case(_PRLIMIT[column], argument_in(_FIRST, (0,)))
  case(_IOCTL[column], argument_in(_SECOND, _IOCTLS))
  case(_FCNTL[column], argument_in(_SECOND, _FCNTLS))
  numbers = allowed_numbers(column)
  for at, number in enumerate(numbers):
    program.append((_EQUAL, len(numbers) - at, 0, number))
  return [*program, deny, allow]


def restrict() -> None:
  """Puts this process under the filter. It needs no-new-privileges."""
  program = filter_program(kernel.machine_index(), os.getpid())
  instructions = (_Instruction * len(program))(*program)
  filter_ = _Program(len(program), instructions)
  mode = kernel.SECCOMP_MODE_FILTER
  kernel.prctl(kernel.PR_SET_SECCOMP, mode, ctypes.byref(filter_))
