//! Names and limits of the works that PID 1 has done in processes of their own: `init --NAME`. Pure.

use std::time::Duration;

/// The program that does them: ourselves.
pub const PROGRAM: &str = "/usr/sbin/init";

/// Loads drivers for devices without one.
pub const COLDPLUG: &str = "--coldplug";
/// A driver may take long to start a slow device; longer means it hangs.
pub const COLDPLUG_LIMIT: Duration = Duration::from_secs(120);
/// Reads dockerd's program into memory.
pub const PRELOAD: &str = "--preload";
/// Reading 75 MiB from a slow medium.
pub const PRELOAD_LIMIT: Duration = Duration::from_secs(60);
/// Watches for lost time, for ever.
pub const WATCH_CLOCK: &str = "--watch-clock";
/// Shows chronyd the clock of the host.
pub const HOST_CLOCK: &str = "--host-clock";
/// A directory and a file.
pub const HOST_CLOCK_LIMIT: Duration = Duration::from_secs(30);
/// Asks the terminal at the other end of a line for its size, then becomes the program that follows.
pub const ON_SIZED_TERMINAL: &str = "--on-sized-terminal";
/// Asks the terminal on standard input for its size.
pub const RESIZE: &str = "--resize";
/// Puts a log aside; file and bytes to keep follow.
pub const ROTATE_LOG: &str = "--rotate-log";
/// Copying the most a log may hold to a slow disk.
pub const ROTATE_LOG_LIMIT: Duration = Duration::from_secs(60);
/// Moves memory of services into swap; their names follow.
pub const PAGE_OUT: &str = "--page-out";
/// Compressing what two programs have of their own on a busy machine.
pub const PAGE_OUT_LIMIT: Duration = Duration::from_secs(10);
/// Unmounts everything.
pub const UNMOUNT_ALL: &str = "--unmount-all";
/// Writes everything out.
pub const SYNC: &str = "--sync";
