//! Another machine, which is a network namespace, and curl on it.

use std::process::Command;

/// Another machine at the other end of a cable.
pub struct Neighbour {
    name: String,
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {args:?}: {error}");
}

impl Neighbour {
    /// At the other end of a cable from `here` to `there`; both in one network of four addresses.
    pub fn new(here_ip: &str, there_ip: &str) -> Self {
        let name = format!("lucid{}", std::process::id());
        ip(&["netns", "add", &name]);
        let neighbour = Self { name };
        let (here, there) = (
            format!("{}a", neighbour.name),
            format!("{}b", neighbour.name),
        );
        ip(&[
            "link",
            "add",
            &here,
            "type",
            "veth",
            "peer",
            "name",
            &there,
            "netns",
            &neighbour.name,
        ]);
        ip(&["address", "add", &format!("{here_ip}/30"), "dev", &here]);
        ip(&["link", "set", &here, "up"]);
        ip(&[
            "-n",
            &neighbour.name,
            "address",
            "add",
            &format!("{there_ip}/30"),
            "dev",
            &there,
        ]);
        ip(&["-n", &neighbour.name, "link", "set", &there, "up"]);
        neighbour
    }

    /// Runs curl there.
    pub fn curl(&self, args: &[&str]) -> (bool, String) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "curl"]);
        curl(command, args)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .output();
    }
}

pub fn curl(mut command: Command, args: &[&str]) -> (bool, String) {
    command.args([
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--max-time",
        "20",
    ]);
    let output = command.args(args).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}
