//! Reads the facts again at each device event, until the data disk is there or waiting makes no sense any more.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use b2d_sys::effects::poll::{self, Interest};
use b2d_sys::effects::uevents::UeventSocket;

use crate::choice::is_found;
use crate::facts::{self, Asked, Facts};
use crate::look::look_into_btrfs;
use crate::patience::patience;
use crate::wanted::Wanted;

/// Returns the facts once the disk asked for is there, or without it when [`patience`] is over.
///
/// # Errors
/// When sysfs or the mount table cannot be read.
pub fn search(root: &Path, asked: Asked) -> Result<Facts> {
    // Opened first: an event between reading and waiting must not be lost.
    let events =
        UeventSocket::open().inspect_err(|error| log::warn!("not waiting for late disks: {error:#}")).ok();
    let start = Instant::now();
    let mut facts = Facts {
        devices: Vec::new(),
        is_virtual: facts::read_is_virtual(root),
        memory_bytes: facts::read_memory_bytes(root),
        asked,
    };
    loop {
        facts.devices = facts::read_devices(root)?;
        let is_over = facts.asked.wanted == Wanted::Nothing || is_found(&facts);
        let limit = patience(is_over, facts::read_arriving(root)?, start.elapsed());
        let Some(events) = events.as_ref().filter(|_| !limit.is_zero()) else { break };
        log::debug!("no disk with {} yet, waiting up to {limit:?} for a device event", facts.asked.wanted);
        if !wait_for_event(events, limit)? {
            log::debug!("no disk with {} after {:?}", facts.asked.wanted, start.elapsed());
            break;
        }
    }
    if !is_found(&facts) {
        facts.devices.iter_mut().for_each(look_into_btrfs);
    }
    Ok(facts)
}
/// Returns false if `limit` passed without an event that may be about a disk.
fn wait_for_event(events: &UeventSocket, limit: Duration) -> Result<bool> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let is_ready = poll::wait(&[(events.as_fd(), Interest::Read)], Some(left))?[0];
        let mut is_disk = false;
        // All that are queued: one look at the devices answers them all.
        while let Some(event) = events.next_event() {
            is_disk |=
                matches!(event.subsystem.as_str(), "block" | "scsi" | "usb" | "nvme" | "mmc" | "virtio");
        }
        if is_disk || (!is_ready && left.is_zero()) {
            return Ok(is_disk);
        }
    }
}
