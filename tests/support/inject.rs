//! Breaks a run of the built program at one system call: kills it just before the call, or lets the call fail.
//!
//! strace counts the calls of each thread apart, and which thread does what differs from run to run. Here all threads are
//! counted together: call 17 is the seventeenth that the program makes, whoever makes it. Two runs need not make their
//! calls in the same order, so a test asserts what has to hold wherever it was hit.
//!
//! The program's children are its own affair: they run untraced once they execute something else, and go on when the
//! program is killed, as after `kill -9` of one process. x86-64 only: what a call returns is changed in its registers.

use std::{
    collections::HashMap,
    fmt,
    fs::{self, File},
    io::Read,
    os::unix::fs::FileExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace::{self, Options},
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{Outcome, recorder::Recorder};

/// No run of a test takes longer; a port that got worse is watched for 65 s after everything was put back.
const LIMIT: Duration = Duration::from_secs(180);

/// What happens at the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// It returns this error and does nothing.
    Fail(Errno),
    /// The program is killed before it.
    Kill,
}

impl Blow {
    /// Every blow there is: a kill, a full disk, a broken disk, a prohibition, too many open files.
    pub const ALL: [Self; 5] = [
        Self::Kill,
        Self::Fail(Errno::ENOSPC),
        Self::Fail(Errno::EIO),
        Self::Fail(Errno::EACCES),
        Self::Fail(Errno::EMFILE),
    ];

    /// Returns whether a call can suffer it: a kill comes before what changes anything, and an error only from calls that
    /// can return it.
    fn strikes(self, call: &Call) -> bool {
        match self {
            Self::Kill => call.errors != ErrorSet::Descriptor,
            Self::Fail(error) => call.errors.list().contains(&error),
        }
    }
}

/// Which errors a call can return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorSet {
    /// It makes a name: open with `O_CREAT`.
    Create,
    /// It only takes a file descriptor, and changes nothing.
    Descriptor,
    /// It starts a program, or a process for one.
    Execute,
    /// It asks the network.
    Network,
    /// It changes names or what belongs to them.
    Name,
    /// It puts bytes on the disk.
    Write,
}

impl ErrorSet {
    fn list(self) -> &'static [Errno] {
        match self {
            Self::Create => &[Errno::ENOSPC, Errno::EIO, Errno::EACCES, Errno::EMFILE],
            Self::Descriptor => &[Errno::EMFILE],
            Self::Execute => &[Errno::EIO, Errno::EACCES, Errno::EMFILE],
            Self::Name => &[Errno::ENOSPC, Errno::EIO, Errno::EACCES],
            Self::Network => &[Errno::EIO, Errno::EACCES],
            Self::Write => &[Errno::ENOSPC, Errno::EIO],
        }
    }
}

/// One system call of the program.
#[derive(Clone, Debug)]
pub struct Call {
    name: &'static str,
    object: String,
    errors: ErrorSet,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.object)
    }
}

/// What became of a run.
#[derive(Debug)]
pub struct Broken {
    /// How it ended and what it said.
    pub outcome: Outcome,
    /// The calls that it made, up to its end.
    pub calls: Vec<Call>,
    /// The call that was hit; none when the run made fewer.
    pub hit: Option<Call>,
}

impl Broken {
    /// Returns how many of the calls the blow can strike.
    pub fn n_points(&self, blow: Blow) -> usize {
        self.calls.iter().filter(|call| blow.strikes(call)).count()
    }
}

/// Runs a prepared command; its n-th call (from 1) that the blow can strike suffers it.
pub fn run(command: &Command, at: Option<(Blow, usize)>) -> Broken {
    traced(command, at, None).0
}

/// Runs a prepared command, and records what it and all that it starts do below some directories.
pub fn record(command: &Command, below: &[PathBuf]) -> (Outcome, Recorder) {
    let (broken, recorder) = traced(command, None, Some(Recorder::of(below)));
    (broken.outcome, recorder.unwrap_or_default())
}

fn traced(
    command: &Command,
    at: Option<(Blow, usize)>,
    recorder: Option<Recorder>,
) -> (Broken, Option<Recorder>) {
    // On a thread of its own: a tracer waits for the children of its thread, and the servers of a test are children too.
    let traced = thread::scope(|scope| scope.spawn(|| run_traced(command, at, recorder)).join());
    traced.unwrap_or_else(|cause| std::panic::resume_unwind(cause))
}

#[expect(
    clippy::zombie_processes,
    reason = "the tracer waits for it, as for all that it traces"
)]
fn run_traced(
    command: &Command,
    at: Option<(Blow, usize)>,
    recorder: Option<Recorder>,
) -> (Broken, Option<Recorder>) {
    // Stopped before it becomes the program, so that no call is missed.
    let mut stopped = Command::new("/bin/sh");
    stopped
        .args(["-c", "kill -STOP $$; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in command.get_envs() {
        stopped.env(name, value.unwrap_or_default());
    }
    let mut child = stopped.spawn().unwrap();
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let pid = Pid::from_raw(child.id().cast_signed());
    let mut tracer = Tracer {
        pid,
        at,
        n_struck: 0,
        executed: false,
        inside: HashMap::new(),
        calls: Vec::new(),
        hit: None,
        recorder,
    };
    let (ended, watched) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        let hangs = watched.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout);
        if hangs {
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        }
        hangs
    });
    let code = tracer.trace();
    drop(ended);
    let broken = Broken {
        outcome: Outcome {
            code,
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
        },
        calls: tracer.calls,
        hit: tracer.hit,
    };
    let last = broken.calls.last();
    assert!(
        !watchdog.join().unwrap(),
        "it hangs; hit at {:?}, last call {last:?}: {}",
        broken.hit,
        broken.outcome
    );
    (broken, tracer.recorder)
}

fn collect(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.expect("it is piped").read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

struct Tracer {
    pid: Pid,
    at: Option<(Blow, usize)>,
    n_struck: usize,
    /// Whether the shell has become the program.
    executed: bool,
    /// The tasks inside a system call, each with the error that it is to return.
    inside: HashMap<Pid, Option<Errno>>,
    calls: Vec<Call>,
    hit: Option<Call>,
    /// Who is told of every call, also of those of other programs that are started.
    recorder: Option<Recorder>,
}

impl Tracer {
    /// Follows the program to its end; its exit code, or -1 when a signal ended it.
    fn trace(&mut self) -> i32 {
        waitpid(self.pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
        let options = Options::PTRACE_O_EXITKILL
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEVFORK;
        ptrace::seize(self.pid, options).unwrap();
        nix::sys::signal::kill(self.pid, Signal::SIGCONT).unwrap();
        let mut code = None;
        loop {
            // Only what this thread traces: other tests have children too.
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            let status = match waitpid(None, Some(flags)) {
                // None of its tasks is left, and none of its children is still to execute something.
                Err(Errno::ECHILD) => return code.expect("its end was seen"),
                status => status.unwrap(),
            };
            match status {
                WaitStatus::Exited(pid, exit) if pid == self.pid => code = Some(exit),
                WaitStatus::Signaled(pid, ..) if pid == self.pid => code = Some(-1),
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {}
                WaitStatus::PtraceSyscall(task) => self.at_call(task),
                WaitStatus::PtraceEvent(task, _, libc::PTRACE_EVENT_EXEC)
                    if task != self.pid && self.recorder.is_none() =>
                {
                    self.inside.remove(&task);
                    let _ = ptrace::detach(task, None);
                }
                WaitStatus::PtraceEvent(task, _, event) => {
                    self.executed |= event == libc::PTRACE_EVENT_EXEC;
                    go_on(task, None);
                }
                WaitStatus::Stopped(task, signal) => go_on(task, Some(signal)),
                other => panic!("{other:?}"),
            }
        }
    }

    /// At the beginning or at the end of a call.
    fn at_call(&mut self, task: Pid) {
        if let Some(error) = self.inside.remove(&task) {
            if let Ok(mut registers) = ptrace::getregs(task) {
                if let Some(error) = error {
                    registers.rax = i64::from(-(error as i32)).cast_unsigned();
                    let _ = ptrace::setregs(task, registers);
                }
                if let Some(recorder) = &mut self.recorder {
                    recorder.after(task, registers.rax.cast_signed());
                }
            }
            return go_on(task, None);
        }
        // A task that was killed meanwhile has no registers any more.
        let Ok(mut registers) = ptrace::getregs(task) else {
            return go_on(task, None);
        };
        self.inside.insert(task, None);
        if let Some(recorder) = self.recorder.as_mut().filter(|_| self.executed) {
            recorder.before(task, &registers);
        }
        let call = self.executed.then(|| self.understand(task, &registers)).flatten();
        let Some(call) = call else {
            return go_on(task, None);
        };
        if let Some((blow, n)) = self.at
            && blow.strikes(&call)
        {
            self.n_struck += 1;
            if self.n_struck == n {
                self.hit = Some(call.clone());
                match blow {
                    Blow::Kill => nix::sys::signal::kill(self.pid, Signal::SIGKILL).unwrap(),
                    Blow::Fail(error) => {
                        // There is no such call: the kernel does nothing, and what it returns is replaced.
                        registers.orig_rax = u64::MAX;
                        ptrace::setregs(task, registers).unwrap();
                        self.inside.insert(task, Some(error));
                    }
                }
            }
        }
        self.calls.push(call);
        go_on(task, None);
    }

    /// Returns what call this is when it changes anything, or takes a descriptor.
    fn understand(&self, task: Pid, registers: &libc::user_regs_struct) -> Option<Call> {
        let number = i64::try_from(registers.orig_rax).ok()?;
        let (first, second, third) = (registers.rdi, registers.rsi, registers.rdx);
        let path = |at: u64| read_path(task, at);
        let file = |fd: u64| {
            fs::read_link(format!("/proc/{task}/fd/{fd}")).map_or_else(
                |_| format!("descriptor {fd}"),
                |target| target.display().to_string(),
            )
        };
        let opened = |flags: u64| {
            let flags = i32::try_from(flags).unwrap_or(0);
            match flags & (libc::O_CREAT | libc::O_TRUNC) {
                0 => ErrorSet::Descriptor,
                _ => ErrorSet::Create,
            }
        };
        let (name, object, errors) = match number {
            libc::SYS_open => ("open", path(first), opened(second)),
            libc::SYS_openat => ("open", path(second), opened(third)),
            libc::SYS_creat => ("open", path(first), ErrorSet::Create),
            libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_writev | libc::SYS_pwritev => {
                let object = file(first);
                let errors = match object.starts_with("socket:") {
                    true => ErrorSet::Network,
                    false => ErrorSet::Write,
                };
                ("write", object, errors)
            }
            libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_sendmmsg => {
                ("send", file(first), ErrorSet::Network)
            }
            libc::SYS_connect => ("connect", file(first), ErrorSet::Network),
            libc::SYS_bind => ("bind", file(first), ErrorSet::Network),
            libc::SYS_rename => ("rename", path(first) + " " + &path(second), ErrorSet::Name),
            libc::SYS_renameat | libc::SYS_renameat2 => {
                let target = path(registers.r10);
                ("rename", path(second) + " " + &target, ErrorSet::Name)
            }
            libc::SYS_link => ("link", path(second), ErrorSet::Name),
            libc::SYS_linkat => ("link", path(registers.r10), ErrorSet::Name),
            libc::SYS_symlink => ("symlink", path(second), ErrorSet::Name),
            libc::SYS_symlinkat => ("symlink", path(third), ErrorSet::Name),
            libc::SYS_unlink => ("unlink", path(first), ErrorSet::Name),
            libc::SYS_unlinkat => ("unlink", path(second), ErrorSet::Name),
            libc::SYS_rmdir => ("rmdir", path(first), ErrorSet::Name),
            libc::SYS_mkdir => ("mkdir", path(first), ErrorSet::Name),
            libc::SYS_mkdirat => ("mkdir", path(second), ErrorSet::Name),
            libc::SYS_chmod => ("chmod", path(first), ErrorSet::Name),
            libc::SYS_fchmod => ("chmod", file(first), ErrorSet::Name),
            libc::SYS_fchmodat => ("chmod", path(second), ErrorSet::Name),
            libc::SYS_chown | libc::SYS_lchown => ("chown", path(first), ErrorSet::Name),
            libc::SYS_fchown => ("chown", file(first), ErrorSet::Name),
            libc::SYS_fchownat => ("chown", path(second), ErrorSet::Name),
            libc::SYS_setxattr | libc::SYS_lsetxattr => ("setxattr", path(first), ErrorSet::Name),
            libc::SYS_fsetxattr => ("setxattr", file(first), ErrorSet::Name),
            libc::SYS_fsync | libc::SYS_fdatasync => ("fsync", file(first), ErrorSet::Write),
            libc::SYS_ftruncate => ("truncate", file(first), ErrorSet::Write),
            libc::SYS_truncate => ("truncate", path(first), ErrorSet::Write),
            libc::SYS_copy_file_range => ("copy", file(third), ErrorSet::Write),
            libc::SYS_sendfile => ("copy", file(first), ErrorSet::Write),
            libc::SYS_flock => ("flock", file(first), ErrorSet::Write),
            libc::SYS_execve => ("execute", path(first), ErrorSet::Execute),
            // A process that shares no thread group with us; the flags of clone3 are in memory.
            libc::SYS_fork | libc::SYS_vfork => ("fork", String::new(), ErrorSet::Execute),
            libc::SYS_clone if first & THREAD == 0 => ("fork", String::new(), ErrorSet::Execute),
            libc::SYS_clone3 if read_word(task, first)? & THREAD == 0 => {
                ("fork", String::new(), ErrorSet::Execute)
            }
            libc::SYS_socket => ("socket", String::new(), ErrorSet::Descriptor),
            libc::SYS_socketpair => ("socketpair", String::new(), ErrorSet::Descriptor),
            libc::SYS_accept4 => ("accept", file(first), ErrorSet::Descriptor),
            libc::SYS_pipe | libc::SYS_pipe2 => ("pipe", String::new(), ErrorSet::Descriptor),
            libc::SYS_epoll_create1 => ("epoll_create", String::new(), ErrorSet::Descriptor),
            libc::SYS_eventfd2 => ("eventfd", String::new(), ErrorSet::Descriptor),
            _ => return None,
        };
        // Libraries that the loader maps, what the kernel tells, wake-ups between threads, and what it says.
        let ignored = [
            "/lib",
            "/usr/lib/x86",
            "/etc/ld.so",
            "/proc/",
            "/sys/",
            "/dev/",
            "anon_inode:",
            "pipe:",
        ];
        let is_ignored = ignored.iter().any(|beginning| object.starts_with(beginning));
        (!is_ignored || name == "execute").then_some(Call { name, object, errors })
    }
}

/// `CLONE_THREAD`.
const THREAD: u64 = 0x0001_0000;

/// Lets a task run to its next call; one that is gone needs no leave.
fn go_on(task: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(task, signal);
}

/// Reads a path from a task's memory.
pub(super) fn read_path(task: Pid, at: u64) -> String {
    let mut bytes = [0; 4096];
    let memory = File::open(format!("/proc/{task}/mem"));
    let n_read = memory
        .and_then(|memory| memory.read_at(&mut bytes, at))
        .unwrap_or(0);
    let text = bytes[..n_read]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

pub(super) fn read_word(task: Pid, at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    let memory = File::open(format!("/proc/{task}/mem")).ok()?;
    memory.read_exact_at(&mut bytes, at).ok()?;
    Some(u64::from_ne_bytes(bytes))
}
