//! Devices that appear and go while the machine runs.

use std::path::Path;

use b2d_sys::effects::input;
use b2d_sys::uevent::Uevent;

use super::Machine;
use super::jobs::{Owner, Patience};
use crate::facts;
use crate::model::ServiceId;
use crate::plan::{kernel, services};
use crate::supervise::Event;
use crate::tasks::coldplug::{MODPROBE, wanted_alias};
use crate::works::COLDPLUG_LIMIT;

impl Machine {
    /// Hears what the kernel tells of devices.
    pub(super) fn hear_devices(&mut self) {
        let mut events = Vec::new();
        while let Some(event) = self.uevents.as_ref().and_then(|socket| socket.next_event()) {
            events.push(event);
        }
        if self.shutdown.is_some() {
            return;
        }
        self.load_drivers(&events);
        for event in events {
            match (event.action.as_str(), event.subsystem.as_str()) {
                ("add", "input") => self.input_appears(&event),
                ("add", "net") => self.interface_appears(&event),
                ("remove", "net") => self.interface_goes(&event),
                ("add" | "remove", "block") => self.disk_changes(&event),
                _ => {}
            }
        }
    }

    /// Looks for drivers of new devices that the kernel itself has none for.
    fn load_drivers(&mut self, events: &[Uevent]) {
        let added = events.iter().filter(|event| event.action == "add" && event.modalias.is_some());
        let device = |event: &Uevent| Path::new("/sys").join(event.devpath.trim_start_matches('/'));
        let mut aliases: Vec<String> = added.filter_map(|event| wanted_alias(&device(event))).collect();
        aliases.sort();
        aliases.dedup();
        if aliases.is_empty() {
            return;
        }
        log::debug!("drivers wanted: {}", aliases.join(" "));
        let argv = [MODPROBE.map(str::to_owned).as_slice(), &aliases].concat();
        if let Err(error) = self.start_job(Owner::Nobody, &argv, Patience::KillAfter(COLDPLUG_LIMIT)) {
            log::warn!("{error:#}");
        }
    }

    fn input_appears(&mut self, event: &Uevent) {
        let device = event.devname.as_deref().and_then(|name| name.strip_prefix("input/"));
        if let Some(device) = device.filter(|device| input::has_power_key(Path::new("/"), device)) {
            self.buttons.add(device);
        }
    }

    /// Gives a network interface that was plugged in what those at boot got.
    fn interface_appears(&mut self, event: &Uevent) {
        let name = last(&event.devpath).to_owned();
        if !facts::is_configured_by_us(&name) || self.facts.interfaces.contains(&name) {
            return;
        }
        log::info!("network interface {name} appeared");
        self.facts.interfaces.push(name.clone());
        facts::sort_interfaces(&mut self.facts.interfaces);
        if !self.is_rest_planned {
            // It will be part of the plan.
            return;
        }
        for action in kernel::interface(&name) {
            if let Err(error) = self.carry_out(&action) {
                log::warn!("{error:#}");
            }
        }
        let service = services::udhcpc(&name);
        let id = service.id.clone();
        self.add_unit(service);
        self.unit_event(&id, Event::Start);
    }

    fn interface_goes(&mut self, event: &Uevent) {
        let name = last(&event.devpath);
        if !self.facts.interfaces.iter().any(|known| known == name) {
            return;
        }
        log::info!("network interface {name} is gone");
        self.facts.interfaces.retain(|known| known != name);
        let id = ServiceId::new(format!("udhcpc-{name}"));
        if self.units.contains_key(&id) {
            self.unit_event(&id, Event::Stop);
        }
    }

    /// Tells of disks that come and go after the boot has looked for the data disk.
    fn disk_changes(&mut self, event: &Uevent) {
        let Some(name) = disk(&event.devpath) else { return };
        if !self.is_rest_planned {
            return;
        }
        let what = if event.action == "add" { "appeared" } else { "is gone" };
        log::info!("disk {name} {what}");
        self.consoles.print(&format!("boot2docker: disk {name} {what}"));
    }
}

fn last(devpath: &str) -> &str {
    devpath.rsplit('/').next().unwrap_or(devpath)
}

/// Returns the name of a whole disk with hardware behind it, at a path such as `/devices/pci0/.../block/sda`.
fn disk(devpath: &str) -> Option<&str> {
    let (parents, name) = devpath.rsplit_once('/')?;
    (parents.ends_with("/block") && !parents.contains("/virtual/")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_real_disks_are_disks() {
        assert_eq!(disk("/devices/pci0000:00/0000:00:05.0/virtio2/block/vdb"), Some("vdb"));
        assert_eq!(disk("/devices/pci0000:00/0000:00:05.0/virtio2/block/vdb/vdb1"), None);
        assert_eq!(disk("/devices/virtual/block/loop0"), None);
    }
}
