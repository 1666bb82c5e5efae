//! Limits of a sandbox process: memory, stack, processor time and priority.
//!
//! In: nothing. Out: limits that the system keeps. Invariant: a process that goes beyond one is ended by the system; after
//! [`SOON`] of its first task it has the lowest priority, so that the model's threads go first.

use std::time::Duration;

/// Stack in bytes, which is backed as it is used.
pub const STACK: usize = 48 << 20;
/// Memory that a process may have beyond what it shares, in bytes.
pub const MEMORY: u64 = 72 << 20;
/// Memory that all processes may hold between tasks, in bytes.
pub const MEMORY_OF_ALL: i64 = 160 << 20;
/// A process that holds less never ends for what others hold.
pub const MODEST: i64 = 4 << 20;
/// Processor time to prepare a format.
pub const PREPARATION: Duration = Duration::from_secs(4);
/// Processor time that a format may take before others, which take less, go first.
pub const SHORT_PREPARATION: Duration = Duration::from_millis(100);
/// Processor time to find the tokens that may come next.
pub const STEP: Duration = Duration::from_secs(2);
/// Processor time of the first task before the process drops to the lowest priority for good.
const SOON: Duration = Duration::from_millis(2);
/// Processor time of a process in all.
const ALL: u64 = 120;
/// Lowest priority.
const LOWEST: i32 = 19;

/// Limits of the fork server, which its processes inherit.
pub fn of_all() {
    // SAFETY: plain system calls on this process; one heap, so that addresses are not reserved for more.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        set(libc::RLIMIT_CORE, 0);
        libc::prctl(libc::PR_SET_NAME, c"formats".as_ptr());
        let lower: extern "C" fn(libc::c_int) = lower;
        libc::signal(libc::SIGVTALRM, lower as libc::sighandler_t);
        libc::signal(libc::SIGPROF, libc::SIG_DFL);
    }
}

/// Limits of one process, from here on.
pub fn of_one() {
    set(libc::RLIMIT_CPU, ALL);
    set(libc::RLIMIT_DATA, writable() + MEMORY);
}

/// A task begins that may take so much processor time; none: it is over.
pub fn task(time: Option<Duration>) {
    timer(libc::ITIMER_PROF, time);
    timer(libc::ITIMER_VIRTUAL, time.map(|_| SOON));
}

/// Bytes that the heap holds.
pub fn held() -> i64 {
    // SAFETY: it only reads.
    let heap = unsafe { libc::mallinfo2() };
    (heap.uordblks + heap.hblkhd) as i64
}

extern "C" fn lower(_: libc::c_int) {
    // SAFETY: a system call, which is safe in a signal handler.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, LOWEST) };
}

fn timer(which: libc::c_int, time: Option<Duration>) {
    let time = time.unwrap_or_default();
    let value = libc::timeval { tv_sec: time.as_secs() as _, tv_usec: time.subsec_micros() as _ };
    let never = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let timer = libc::itimerval { it_interval: never, it_value: value };
    // SAFETY: the pointer is to a live local.
    unsafe { libc::setitimer(which, &raw const timer, std::ptr::null_mut()) };
}

/// Sets a soft limit, at most to the hard one.
fn set(which: libc::__rlimit_resource_t, value: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to live locals.
    unsafe {
        libc::getrlimit(which, &raw mut limit);
        limit.rlim_cur = value.min(limit.rlim_max);
        libc::setrlimit(which, &raw const limit);
    }
}

/// Bytes that this process may write to: the smallest limit with which it gets one page more. /proc may not be there.
fn writable() -> u64 {
    const PAGE: u64 = 4096;
    let (mut low, mut high) = (0, 1 << 47);
    while low + PAGE < high {
        let middle = low + (high - low) / 2;
        set(libc::RLIMIT_DATA, middle);
        // SAFETY: a new page, which is given back.
        let page = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let page = libc::mmap(std::ptr::null_mut(), PAGE as usize, access, flags, -1, 0);
            if page != libc::MAP_FAILED {
                libc::munmap(page, PAGE as usize);
            }
            page
        };
        if page == libc::MAP_FAILED {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}
