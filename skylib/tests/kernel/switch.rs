//! `Switch`: `openvswitch-switch` of Debian with its userspace datapath.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{has_programs, sh};

/// A switch in the namespace of the test.
pub(crate) struct Switch(pub(crate) PathBuf);

impl Switch {
    /// Returns whether Open vSwitch is installed; otherwise prints that the test is skipped.
    pub(crate) fn is_installed() -> bool {
        has_programs(&["ovs-vsctl", "ovsdb-server", "ovsdb-tool", "ovs-vswitchd"])
    }

    pub(crate) fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("skylib-ovs-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).unwrap();
        let switch = Self(folder);
        switch.run("ovsdb-tool create conf.db /usr/share/openvswitch/vswitch.ovsschema");
        switch.start_database();
        switch.vsctl("--no-wait init");
        switch.run("ovs-vswitchd --detach --pidfile=v.pid --log-file=v.log unix:db.sock");
        switch
    }

    pub(crate) fn start_database(&self) {
        self.run(
            "ovsdb-server --detach --pidfile=s.pid --log-file=s.log --remote=punix:db.sock conf.db",
        );
    }

    pub(crate) fn stop_database(&self) {
        self.run("kill $(cat s.pid); while test -e s.pid; do sleep 0.1; done");
    }

    pub(crate) fn run(&self, command: &str) {
        let folder = self.0.display();
        sh(&format!(
            "cd {folder} && export OVS_RUNDIR={folder} OVS_LOGDIR={folder} && {command}"
        ));
    }

    pub(crate) fn vsctl(&self, command: &str) {
        self.run(&format!(
            "ovs-vsctl --db=unix:db.sock --timeout=20 {command}"
        ));
    }

    pub(crate) fn add_bridge(&self, name: &str) {
        self.vsctl(&format!(
            "add-br {name} -- set bridge {name} datapath_type=netdev"
        ));
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let end = "for f in v.pid s.pid; do test ! -e $f || kill $(cat $f); done";
        let mut command = Command::new("sh");
        let _ended = command.args(["-c", end]).current_dir(&self.0).status();
        drop(std::fs::remove_dir_all(&self.0));
    }
}
