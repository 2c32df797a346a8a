"""Hostile programs against files: each returns True where it got through.

The text of this file is run outside the sandbox, on things that a test made for
it, and inside, where no function may return True. `w` says what to go for.
"""

import ctypes
import os
import pathlib
import sys

libc = ctypes.CDLL(None, use_errno=True)


def read_a_host_file(w):
  return pathlib.Path(w["file"]).read_text() == "witness"


def read_the_list_of_users(w):
  return "root" in pathlib.Path("/etc/passwd").read_text()


def list_a_host_folder(w):
  return os.path.basename(w["file"]) in os.listdir(w["folder"])


def list_the_host_root(w):
  return "home" in os.listdir("/")


def find_a_host_file_by_stat(w):
  return os.stat(w["file"]).st_size > 0


def write_a_new_host_file(w):
  pathlib.Path(w["folder"], "new").write_text("x")
  return os.path.exists(w["folder"] + "/new")


def overwrite_a_host_file(w):
  return pathlib.Path(w["spare"]).write_text("overwritten") > 0


def append_to_a_host_file(w):
  with open(w["spare"], "a") as file:
    return file.write("more") > 0


def truncate_a_host_file(w):
  os.truncate(w["spare"], 0)
  return True


def delete_a_host_file(w):
  os.unlink(w["doomed"])
  return True


def rename_a_host_file(w):
  os.rename(w["movable"], w["movable"] + ".moved")
  return True


def change_the_mode_of_a_host_file(w):
  os.chmod(w["spare"], 0o777)
  return True


def change_the_owner_of_a_host_file(w):
  os.chown(w["spare"], os.getuid(), os.getgid())
  return True


def touch_a_host_file(w):
  os.utime(w["spare"], (0, 0))
  return True


def link_a_host_file_into_scratch(w):
  os.link(w["file"], w["scratch"] + "/linked")
  return pathlib.Path(w["scratch"], "linked").read_text() == "witness"


def read_a_host_file_through_a_symlink(w):
  os.symlink(w["file"], w["scratch"] + "/soft")
  return pathlib.Path(w["scratch"], "soft").read_text() == "witness"


def write_a_host_file_through_a_symlink(w):
  os.symlink(w["folder"], w["scratch"] + "/door")
  return pathlib.Path(w["scratch"], "door", "through").write_text("x") > 0


def climb_out_with_dots(w):
  path = w["scratch"] + "/../" * 20 + w["file"]
  return pathlib.Path(path).read_text() == "witness"


def climb_out_through_the_process_root(w):
  path = f"/proc/{os.getppid()}/root{w['file']}"
  return pathlib.Path(path).read_text() == "witness"


def climb_out_through_its_own_root(w):
  return pathlib.Path("/proc/self/root" + w["file"]).read_text() == "witness"


def climb_out_through_a_working_folder(w):
  return bool(os.listdir(f"/proc/{w['pid']}/cwd"))


def read_the_environment_of_others(w):
  return pathlib.Path(f"/proc/{w['pid']}/environ").read_bytes() != b""


def read_the_command_line_of_others(w):
  return b"sleep" in pathlib.Path(f"/proc/{w['pid']}/cmdline").read_bytes()


def count_the_processes(w):
  return sum(name.isdigit() for name in os.listdir("/proc")) > 4


def read_its_own_memory_map(w):
  return "python" in pathlib.Path("/proc/self/maps").read_text()


def write_its_own_memory(w):
  return os.close(os.open("/proc/self/mem", os.O_RDWR)) is None


def read_its_own_environment_block(w):
  return b"WITNESS" in pathlib.Path("/proc/self/environ").read_bytes()


def list_its_descriptors(w):
  return len(os.listdir("/proc/self/fd")) > 0


def read_mounts(w):
  return len(pathlib.Path("/proc/self/mountinfo").read_text()) > 0


def read_kernel_settings(w):
  return pathlib.Path("/proc/sys/kernel/hostname").read_text() != ""


def read_the_device_tree(w):
  return len(os.listdir("/sys/class")) > 0


def list_devices(w):
  return len(os.listdir("/dev")) > 1


def open_a_device(w):
  return os.close(os.open("/dev/zero", os.O_RDONLY)) is None


def open_the_terminal_maker(w):
  return os.close(os.open("/dev/ptmx", os.O_RDWR)) is None


def open_shared_memory(w):
  pathlib.Path("/dev/shm", f"probe-{os.getpid()}").write_text("x")
  os.unlink(f"/dev/shm/probe-{os.getpid()}")
  return True


def make_a_device(w):
  os.mknod(w["scratch"] + "/null", 0o20666, os.makedev(1, 3))
  return True


def make_a_named_pipe(w):
  os.mkfifo(w["scratch"] + "/pipe")
  return True


def make_a_socket_file(w):
  os.mknod(w["scratch"] + "/socket", 0o140666)
  return True


def make_a_set_user_id_file(w):
  path = w["scratch"] + "/program"
  os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o755))
  os.chmod(path, 0o4755)
  return os.stat(path).st_mode & 0o4000 != 0


def run_a_program_from_scratch(w):
  path = w["scratch"] + "/script"
  pathlib.Path(path).write_text("#!/bin/sh\nexit 0\n")
  os.chmod(path, 0o755)
  return os.spawnv(os.P_WAIT, path, [path]) == 0


def write_into_the_standard_library(w):
  path = pathlib.Path(os.__file__).parent / "sandbox_test_probe.py"
  path.write_text("x = 1")
  path.unlink()
  return True


def write_into_the_root(w):
  pathlib.Path("/sandbox_test_probe").write_text("x")
  os.unlink("/sandbox_test_probe")
  return True


def use_installed_packages(w):
  library = pathlib.Path(os.__file__).parent
  return bool(os.listdir(library / "site-packages"))


def open_a_handle_of_a_folder_outside(w):
  handle = os.open(w["folder"], os.O_PATH | os.O_DIRECTORY)
  return os.open(os.path.basename(w["file"]), os.O_RDONLY, dir_fd=handle) > 0


def change_the_root(w):
  os.chroot(w["scratch"])
  return True


def use_a_leaked_descriptor(w):
  return os.fstat(w["descriptor"]).st_ino == w["inode"]


def read_the_environment(w):
  return "WITNESS" in os.environ


def read_the_environment_in_memory(w):
  environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
  found, at = [], 0
  while environ[at]:
    found.append(environ[at])
    at += 1
  return any(entry.startswith(b"WITNESS=") for entry in found)


def read_the_arguments_of_the_parent(w):
  return any(w["secret"] in word for word in sys.orig_argv)


def open_by_a_handle(w):
  # name_to_handle_at and open_by_handle_at walk past every mount.
  handle = ctypes.create_string_buffer(b"\x80\0\0\0" + b"\0" * 200)
  mount = ctypes.c_int()
  path = w["folder"].encode()
  if libc.syscall(303, -100, path, handle, ctypes.byref(mount), 0):
    return False
  descriptor = os.open(w["folder"], os.O_RDONLY)
  return libc.syscall(304, descriptor, handle, os.O_RDONLY) >= 0


def fill_the_disk(w):
  size, chunk = 0, b"x" * (1 << 20)
  with open(w["scratch"] + "/big", "wb") as file:
    while size < 16 << 20:
      size += file.write(chunk)
      file.flush()
  os.unlink(w["scratch"] + "/big")
  return True


def fill_the_disk_with_small_files(w):
  for number in range(2000):
    os.close(os.open(f"{w['scratch']}/f{number}", os.O_CREAT | os.O_WRONLY))
  for number in range(2000):
    os.unlink(f"{w['scratch']}/f{number}")
  return True


def make_a_huge_sparse_file(w):
  with open(w["scratch"] + "/sparse", "wb") as file:
    file.truncate(1 << 30)
  os.unlink(w["scratch"] + "/sparse")
  return True


def open_a_thousand_descriptors(w):
  handles = []
  try:
    for _ in range(200):
      handles.append(os.open(os.devnull, os.O_RDONLY))
    return True
  finally:
    for handle in handles:
      os.close(handle)
