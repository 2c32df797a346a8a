"""Hostile programs against the kernel, the network and other processes.

As in `hostile_files`: True means that it got through. What would change the
machine itself does so in a namespace of its own, where it is run outside.
"""

import ctypes
import mmap
import os
import signal
import socket
import subprocess
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
NEW_USER, NEW_NET, NEW_UTS, NEW_NS = 1 << 28, 1 << 30, 1 << 26, 1 << 17


def call(number, *arguments):
  # As whole words: a C int would leave half a word of the stack undefined.
  words = [ctypes.c_long(a) if type(a) is int else a for a in arguments]
  return libc.syscall(number, *words)


def connect_to_the_host(w):
  socket.create_connection(("127.0.0.1", w["port"]), timeout=1).close()
  return True


def connect_by_a_raw_system_call(w):
  descriptor = call(41, socket.AF_INET, socket.SOCK_STREAM, 0)
  address = (
    b"\x02\0" + w["port"].to_bytes(2, "big") + b"\x7f\0\0\x01" + b"\0" * 8
  )
  return descriptor >= 0 and call(42, descriptor, address, 16) == 0


def send_a_datagram(w):
  sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
  return sender.sendto(b"out", ("127.0.0.1", w["port"])) == 3


def listen_for_others(w):
  socket.create_server(("127.0.0.1", 0)).close()
  return True


def open_a_raw_socket(w):
  socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
  return True


def open_a_packet_socket(w):
  socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
  return True


def talk_to_the_kernel_by_netlink(w):
  socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
  return True


def connect_to_an_abstract_socket(w):
  peer = socket.socket(socket.AF_UNIX)
  peer.connect("\0" + w["abstract"])
  return True


def connect_to_a_socket_file(w):
  peer = socket.socket(socket.AF_UNIX)
  peer.connect(w["socket"])
  return True


def make_a_pair_of_sockets(w):
  socket.socketpair()
  return True


def fork(w):
  child = os.fork()
  if child == 0:
    os._exit(0)
  return os.waitpid(child, 0)[0] == child


def fork_by_a_raw_system_call(w):
  child = call(57)
  if child == 0:
    os._exit(0)
  return child > 0


def clone_by_a_raw_system_call(w):
  child = call(56, int(signal.SIGCHLD), 0, 0, 0, 0)
  if child == 0:
    os._exit(0)
  return child > 0


def clone_with_the_new_interface(w):
  arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, int(signal.SIGCHLD))
  child = call(435, ctypes.byref(arguments), 88)
  if child == 0:
    os._exit(0)
  return child > 0


def start_a_daemon_that_lives_on(w):
  if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
      time.sleep(0.2)
      with open(w["folder"] + "/daemon", "w") as file:
        file.write("alive")
    os._exit(0)
  time.sleep(0.6)
  return os.path.exists(w["folder"] + "/daemon")


def start_a_program(w):
  return subprocess.run(["/bin/true"]).returncode == 0


def start_a_program_by_posix_spawn(w):
  child = os.posix_spawn("/bin/true", ["true"], {})
  return os.waitpid(child, 0)[1] == 0


def start_a_program_from_memory(w):
  descriptor = os.memfd_create("program")
  os.write(descriptor, b"#!/bin/true\n")
  return os.posix_spawn(f"/proc/self/fd/{descriptor}", ["x"], {}) > 0


def start_a_shell(w):
  return os.system("true") == 0


def fork_many(w):
  children = []
  for _ in range(40):
    child = os.fork()
    if child == 0:
      os._exit(0)
    children.append(child)
  for child in children:
    os.waitpid(child, 0)
  return True


def start_very_many_threads(w):
  stop = threading.Event()
  threads = [threading.Thread(target=stop.wait, daemon=True) for _ in range(99)]
  try:
    for thread in threads:
      thread.start()
    return True
  finally:
    stop.set()


def signal_another_process(w):
  os.kill(w["pid"], signal.SIGCONT)
  return True


def signal_its_parent(w):
  os.kill(os.getppid(), 0)
  return True


def signal_by_thread(w):
  return call(200, w["pid"], int(signal.SIGCONT)) == 0


def signal_its_group(w):
  os.killpg(os.getpgrp(), signal.SIGCONT)
  return True


def queue_a_signal(w):
  return call(424, os.pidfd_open(w["pid"]), 0, None, 0) == 0


def send_signals_through_a_file(w):
  import fcntl

  reader, _ = os.pipe()
  fcntl.fcntl(reader, fcntl.F_SETOWN, os.getpid())
  return True


def take_a_handle_of_another_process(w):
  return os.pidfd_open(w["pid"]) > 0


def trace_another_process(w):
  attached = libc.ptrace(16, w["pid"], None, None) == 0
  if attached:
    os.waitpid(w["pid"], 0x40000000)
    libc.ptrace(17, w["pid"], None, None)
  return attached


def be_traced(w):
  return libc.ptrace(0, 0, None, None) == 0


def read_the_memory_of_another_process(w):
  with open(f"/proc/{w['pid']}/maps") as maps:
    start = int(maps.readline().split("-")[0], 16)
  with open(f"/proc/{w['pid']}/mem", "rb") as memory:
    memory.seek(start)
    return len(memory.read(4)) == 4


def read_memory_across_processes(w):
  buffer = ctypes.create_string_buffer(4)
  vector = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 4)
  own = (ctypes.c_uint64 * 2)(id(w), 4)
  return call(310, os.getpid(), vector, 1, own, 1, 0) == 4


def change_the_priority_of_another_process(w):
  os.setpriority(os.PRIO_PROCESS, w["pid"], 1)
  return True


def move_another_process_to_a_core(w):
  os.sched_setaffinity(w["pid"], os.sched_getaffinity(w["pid"]))
  return True


def change_the_limits_of_another_process(w):
  import resource

  limits = resource.prlimit(w["pid"], resource.RLIMIT_NOFILE)
  resource.prlimit(w["pid"], resource.RLIMIT_NOFILE, limits)
  return True


def raise_its_own_limits(w):
  import resource

  resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
  return True


def become_root(w):
  os.setresuid(0, 0, 0)
  return True


def become_another_group(w):
  os.setresgid(0, 0, 0)
  return True


def join_groups(w):
  os.setgroups([0])
  return True


def make_a_user_namespace(w):
  return libc.unshare(NEW_USER) == 0


def make_a_network_namespace(w):
  return libc.unshare(NEW_NET) == 0


def join_the_namespace_of_another(w):
  descriptor = os.open(f"/proc/{w['pid']}/ns/net", os.O_RDONLY)
  return libc.setns(descriptor, 0) == 0


def mount_a_file_system(w):
  apart = libc.unshare(NEW_NS) == 0
  libc.mount(b"", b"/", b"", 1 << 18 | 1 << 14, None)
  mounted = libc.mount(b"none", w["scratch"].encode(), b"tmpfs", 0, None)
  return apart and mounted == 0


def unmount_a_file_system(w):
  return libc.unshare(NEW_NS) == 0 and libc.umount2(b"/proc", 2) == 0


def mount_with_the_new_interface(w):
  return call(430, b"tmpfs", 0) >= 0


def change_the_host_name(w):
  if libc.unshare(NEW_UTS):
    libc.sethostname(b"mine", 4)
    return os.uname().nodename == "mine"
  return libc.sethostname(b"mine", 4) == 0


def add_a_key(w):
  return call(248, b"user", b"probe", b"x", 1, -2) > 0


def read_the_session_keyring(w):
  return call(250, 0, -3, 0, 0, 0) > 0


def load_a_filter_into_the_kernel(w):
  attributes = (ctypes.c_uint32 * 32)(1, 4, 4, 1)
  return call(321, 0, ctypes.byref(attributes), 128) >= 0


def make_a_ring_of_system_calls(w):
  parameters = ctypes.create_string_buffer(120)
  return call(425, 1, parameters) >= 0


def handle_its_own_page_faults(w):
  return call(323, 1) >= 0


def read_the_kernel_log(w):
  return libc.klogctl(10, None, 0) >= 0


def make_shared_memory(w):
  key = libc.shmget(0x5EED, 4096, 0o1666)
  if key >= 0:
    libc.shmctl(key, 0, None)
  return key >= 0


def make_semaphores(w):
  key = libc.semget(0x5EED, 1, 0o1666)
  if key >= 0:
    libc.semctl(key, 0, 0)
  return key >= 0


def make_a_message_queue(w):
  key = libc.msgget(0x5EED, 0o1666)
  if key >= 0:
    libc.msgctl(key, 0, None)
  return key >= 0


def make_a_file_in_memory(w):
  return os.memfd_create("hidden") > 0


def watch_files(w):
  return libc.inotify_init() >= 0


def change_how_addresses_are_laid_out(w):
  return libc.personality(0x0040000) >= 0


def change_its_own_protection(w):
  return libc.prctl(4, 1, 0, 0, 0) == 0


def call_in_32_bits(w):
  # int 0x80 with number 20: getpid by another calling convention.
  code = mmap.mmap(-1, 4096, prot=7)
  code.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")
  address = ctypes.addressof(ctypes.c_char.from_buffer(code))
  return ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid()


def call_in_x32(w):
  return call(0x40000000 | 41, socket.AF_UNIX, socket.SOCK_STREAM, 0) >= 0


def allocate_a_lot_of_memory(w):
  block = mmap.mmap(-1, 1 << 30)
  block.close()
  return True


def lock_memory(w):
  block = mmap.mmap(-1, 1 << 20)
  address = ctypes.addressof(ctypes.c_char.from_buffer(block))
  return libc.mlock(ctypes.c_void_p(address), 1 << 20) == 0
