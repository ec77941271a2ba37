from __future__ import annotations

import dataclasses
import itertools
import json
import os
import select
import shutil
import subprocess

import numpy as np
import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """A browser that is driven by the DevTools protocol, whose messages go through two pipes and end in a zero."""

    def __init__(self, program, profile):
        theirs, self._to = os.pipe()
        self._from, back = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "about:blank"]
        # The browser reads from file 3 and writes to file 4. Not sh, which knows files of one digit only.
        line = ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{back}', "bash", program, "--remote-debugging-pipe", *options]
        null = subprocess.DEVNULL
        self._process = subprocess.Popen(line, pass_fds=(theirs, back), stdout=null, stderr=null)
        os.close(theirs)
        os.close(back)
        self._numbers, self._received, self._session = itertools.count(1), b"", {}
        (page,) = [t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        attached = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        self.send("Page.enable")

    def send(self, method, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **self._session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._wait(lambda answer: answer.get("id") == number)["result"]

    def open(self, path, width, *, colors="light", media="screen"):
        """Open a page in a window of a width, and wait until it is there."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 500
        )
        features = [{"name": "prefers-color-scheme", "value": colors}]
        self.send("Emulation.setEmulatedMedia", media=media, features=features)
        self.send("Page.navigate", url=path.as_uri())
        self._wait(lambda event: event.get("method") == "Page.loadEventFired")

    def value(self, expression):
        return self.send("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    def press(self, key, code):
        for kind in ("rawKeyDown", "char", "keyUp"):
            text = {"text": "\r"} if kind == "char" and key == "Enter" else {}
            if kind != "char" or text:
                self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    def close(self):
        self._session = {}
        self.send("Browser.close")
        self._process.wait(60)
        os.close(self._to)
        os.close(self._from)

    def _wait(self, wanted):
        while True:
            while b"\0" not in self._received:
                assert select.select([self._from], [], [], 60)[0], "the browser does not answer"
                part = os.read(self._from, 1 << 16)
                assert part, "the browser ended"
                self._received += part
            text, _, self._received = self._received.partition(b"\0")
            message = json.loads(text)
            if wanted(message):
                assert "error" not in message, message
                return message


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser is installed: none of {', '.join(PROGRAMS)}")
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def robustness():
    """Return a report of two models with known outcomes."""
    from tf_laq.attacks.battery import Battery
    from tf_laq.evaluation import Outcome, RobustnessReport

    def outcome(model, column, knowledge, right, surrogate=None):
        correct = np.arange(20) < right
        return Outcome.record(correct, model=model, column=column, knowledge=knowledge, surrogate=surrogate)

    cells = [("clean", "none", None), ("pgd", "gray", "twin"), ("pgd", "white", None)]
    numbers = {"q1": (19, 12, 5), "<b>q2</b>": (20, 14, 9)}
    return RobustnessReport(
        models=tuple(numbers),
        surrogates=("twin",),
        battery=Battery.preset("digits").only(["clean", "pgd"]),
        count=20,
        seed=0,
        outcomes=tuple(
            outcome(model, column, knowledge, right, surrogate)
            for model, rights in numbers.items()
            for (column, knowledge, surrogate), right in zip(cells, rights, strict=True)
        ),
    )


@pytest.fixture(scope="session")
def compression(compressed):
    """Return the folder and the result of a compression, with a command that has to be quoted."""
    folder, result = compressed
    return folder, dataclasses.replace(result, command="laq compress 'a & b'")
