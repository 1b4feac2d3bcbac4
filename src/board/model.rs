//! Which board this is.

use super::Family;
use super::cpu::field;
use super::tree::Tree;

/// Where the device tree lies; `/proc/device-tree` is a link to the first.
const DEVICE_TREES: [&str; 2] = ["sys/firmware/devicetree/base", "proc/device-tree"];

/// Bit 23 of a revision code marks the new style, in which the code says model and memory
/// (Raspberry Pi documentation, "Raspberry Pi revision codes").
const NEW_STYLE: u32 = 1 << 23;

/// Names that firmware of PCs carries when its maker filled in none.
const PLACEHOLDERS: [&str; 7] = [
    "default string",
    "none",
    "not applicable",
    "not specified",
    "system manufacturer",
    "system product name",
    "to be filled by o.e.m.",
];

/// A machine's identity.
#[derive(Debug, PartialEq)]
pub(super) struct Identity {
    pub(super) model: String,
    pub(super) family: Family,
    pub(super) revision: Option<u32>,
}

/// Reads the identity from the device tree, else from DMI, else from the processor's name.
pub(super) fn read(tree: &Tree<'_>, cpuinfo: &str, arch: &str) -> Identity {
    let device_tree = |name: &str| {
        DEVICE_TREES
            .iter()
            .find_map(|base| tree.read(&format!("{base}/{name}")).ok())
    };
    let family = family(&device_tree("compatible").unwrap_or_default());
    let revision = device_tree("system/linux,revision")
        .and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?)))
        .or_else(|| u32::from_str_radix(field(cpuinfo, "Revision")?, 16).ok())
        // Other boards write other things there.
        .filter(|code| family != Family::Other && code & NEW_STYLE != 0);
    let model = DEVICE_TREES
        .iter()
        .find_map(|base| tree.text(&format!("{base}/model")))
        .or_else(|| dmi(tree))
        .or_else(|| Some(format!("{} ({arch})", field(cpuinfo, "model name")?)))
        .unwrap_or_else(|| format!("unknown machine ({arch})"));
    Identity {
        model,
        family,
        revision,
    }
}

/// The family from the NUL-separated list `compatible`, most specific name first. The names are
/// those of the kernel's `Documentation/devicetree/bindings/arm/bcm/bcm2835.yaml`.
fn family(compatible: &[u8]) -> Family {
    let names: Vec<&str> = compatible
        .split(|b| *b == 0)
        .filter_map(|name| std::str::from_utf8(name).ok())
        .collect();
    let Some(board) = names.iter().find_map(|n| n.strip_prefix("raspberrypi,")) else {
        return Family::Other;
    };
    let starts = |prefixes: &[&str]| prefixes.iter().any(|p| board.starts_with(p));
    if starts(&["model-zero-2"]) {
        Family::Zero2W
    } else if starts(&["3-"]) {
        Family::Pi3
    } else if starts(&["4-", "400"]) || names.contains(&"brcm,bcm2711") {
        Family::Pi4
    } else if starts(&["5-", "500"]) || names.contains(&"brcm,bcm2712") {
        Family::Pi5
    } else {
        Family::OtherPi
    }
}

/// Maker and product as a PC's firmware names them.
fn dmi(tree: &Tree<'_>) -> Option<String> {
    let get = |name: &str| {
        tree.text(&format!("sys/class/dmi/id/{name}"))
            .filter(|text| !PLACEHOLDERS.contains(&text.to_lowercase().as_str()))
    };
    match (get("sys_vendor"), get("product_name")) {
        (Some(vendor), Some(product)) if !product.starts_with(&vendor) => {
            Some(format!("{vendor} {product}"))
        }
        (_, Some(product)) => Some(product),
        (vendor, None) => vendor,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::fixture::machine;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_board_of_the_bindings_finds_its_family() {
        for (compatible, wanted) in [
            ("raspberrypi,model-zero-2-w\0brcm,bcm2837\0", Family::Zero2W),
            ("raspberrypi,3-model-b\0brcm,bcm2837\0", Family::Pi3),
            ("raspberrypi,3-model-a-plus\0brcm,bcm2837\0", Family::Pi3),
            ("raspberrypi,3-compute-module\0brcm,bcm2837\0", Family::Pi3),
            ("raspberrypi,400\0brcm,bcm2711\0", Family::Pi4),
            ("raspberrypi,4-compute-module\0brcm,bcm2711\0", Family::Pi4),
            ("raspberrypi,500\0brcm,bcm2712\0", Family::Pi5),
            ("raspberrypi,5-compute-module\0brcm,bcm2712\0", Family::Pi5),
            ("raspberrypi,new-name\0brcm,bcm2712\0", Family::Pi5),
            ("raspberrypi,model-zero-w\0brcm,bcm2835\0", Family::OtherPi),
            ("raspberrypi,2-model-b\0brcm,bcm2836\0", Family::OtherPi),
            ("raspberrypi,6-model-b\0brcm,bcm2713\0", Family::OtherPi),
            ("radxa,rock-5b\0rockchip,rk3588\0", Family::Other),
            ("", Family::Other),
        ] {
            assert_eq!(family(compatible.as_bytes()), wanted, "{compatible:?}");
        }
    }

    #[test]
    fn a_pc_is_named_by_its_firmware_and_placeholders_are_passed_over() {
        let name = |vendor, product| {
            let dir = machine(&[
                ("sys/class/dmi/id/sys_vendor", vendor),
                ("sys/class/dmi/id/product_name", product),
            ]);
            read(&Tree::new(dir.path()), "", "x86_64").model
        };
        assert_eq!(
            name("Dell Inc.\n", "OptiPlex 3070\n"),
            "Dell Inc. OptiPlex 3070"
        );
        assert_eq!(name("Intel", "Intel NUC"), "Intel NUC");
        assert_eq!(name("System manufacturer", "Z170"), "Z170");
        assert_eq!(name("Acme", "To Be Filled By O.E.M."), "Acme");
        assert_eq!(
            name("Default string", "Default string"),
            "unknown machine (x86_64)"
        );
    }

    #[test]
    fn an_old_style_or_foreign_revision_is_absent() {
        let pi = [(
            "proc/device-tree/compatible",
            "raspberrypi,model-b\0brcm,bcm2835\0",
        )];
        let dir = machine(&pi);
        let tree = Tree::new(dir.path());
        assert_eq!(read(&tree, "Revision\t: 000e\n", "arm").revision, None);
        assert_eq!(
            read(&tree, "Revision\t: 900093\n", "arm").revision,
            Some(0x0090_0093)
        );
        let dir = machine(&[]);
        let foreign = read(&Tree::new(dir.path()), "Revision\t: 900093\n", "aarch64");
        assert_eq!(foreign.revision, None);
    }

    proptest! {
        #[test]
        fn any_compatible_gives_a_family_without_panic(bytes: Vec<u8>) {
            let _ = family(&bytes);
        }
    }
}
