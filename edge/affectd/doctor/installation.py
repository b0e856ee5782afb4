"""Checks of what is installed: settings, NumPy, model file, interpreter."""

from __future__ import annotations

import platform
import sys

from affectd.doctor.device import Device
from affectd.doctor.finding import Finding, fault, ok, warning
from affectd.errors import AffectdError, ConfigError, ModelFileError, UnavailableError

_REINSTALL = "install affectd again; if that does not help, the storage may be failing"


def configuration(device: Device) -> Finding:
    """Check that the settings can be read."""
    from affectd.config.loading import ignored_variables, load_config

    try:
        load_config(device.config_path)
    except AffectdError as error:
        if str(error).startswith("cannot read"):
            return fault(str(error), "see to it that the file can be read; --config names another")
        return fault(str(error), "correct that line; affectd config shows what is in force")
    if ignored := ignored_variables():
        return warning("; ".join(ignored), "unset it, or give it the name of a setting")
    return ok("can be used")


def numpy(device: Device) -> Finding:
    """Check that NumPy is installed and fits the interpreter."""
    installed = device.version("numpy")
    if installed is None:
        return fault("NumPy is not installed", "pip install numpy")
    has_litert, has_tflite = device.version("ai-edge-litert"), device.version("tflite-runtime")
    if int(installed.split(".")[0]) >= 2 and has_tflite and not has_litert:
        return fault(f"tflite-runtime {has_tflite} fails beside NumPy {installed}", "pip install 'numpy<2'")
    import numpy as imported

    if imported.__version__ != installed:
        return warning(f"NumPy {installed} is installed, but {imported.__version__} is used", "unset PYTHONPATH")
    return ok(f"NumPy {installed}")


def model(device: Device) -> Finding:
    """Check that the model file can be read."""
    try:
        labels = device.model.labels
    except AffectdError as error:
        return fault(str(error), _REINSTALL)
    return _fleet(device) or ok(f"{device.model_file}: {', '.join(labels)}")


def _fleet(device: Device) -> Finding | None:
    """Return why this device can take no models from its fleet; None if it can, or is of none."""
    keys, fleet, is_connected = device.config.model.trusted_keys, device.config.mqtt.fleet, device.config.mqtt.enabled
    if not (keys or fleet):
        return None
    if not (keys and fleet and is_connected):
        return warning(
            "no models are taken from a fleet: [model] trusted_keys, [mqtt] fleet and [mqtt] enabled go together",
            "set all three, or none; affectd config shows them",
        )
    import shutil

    from affectd.delivery.trust import read_keys

    try:
        read_keys(keys)
    except ConfigError as error:
        return fault(str(error), "affectd-train keys makes such a file; it must be readable for the service")
    if shutil.which("openssl") is None:
        return fault("openssl is not installed, so no model of the fleet is taken", "apt install openssl")
    return None


def interpreter(device: Device) -> Finding:
    """Check that an interpreter runs the model."""
    device.model  # noqa: B018  raises without a model, which is another check
    try:
        classifier = device.classifier
    except ModelFileError as error:
        return fault(str(error), _REINSTALL)
    except UnavailableError as error:
        if platform.machine().startswith("armv") and sys.version_info >= (3, 12):
            mend = "32-bit ARM has one for Python 3.11 alone: use Debian 12, or a 64-bit system"
        else:
            mend = "pip install 'affectd[interpreter]' in the environment of affectd"
        return fault(str(error), mend)
    return ok(f"{classifier.runtime_name} {classifier.runtime_version}")


def self_test(device: Device) -> Finding:
    """Check that the golden vectors of the model are reproduced."""
    from affectd.recognition.golden import self_test as replay

    classifier = device.classifier
    try:
        steps = replay(device.model, classifier)["output_steps"]
    except AffectdError as error:
        return fault(str(error), _REINSTALL)
    return ok(f"the network computes what it should, to {steps:g} steps of 256")
