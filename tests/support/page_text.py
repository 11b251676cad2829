#!/usr/bin/env python3
"""What a person reads on a page: its text and the classes of its drawings, as Debian's Chromium shows them after some seconds.
page_text.py ADDRESS SECONDS PROFILE"""

import json
import os
import subprocess
import sys
import time

address, seconds, profile = sys.argv[1], float(sys.argv[2]), sys.argv[3]
into, commands = os.pipe()
answers, out = os.pipe()


def descriptors():
    """The browser listens at 3 and answers at 4; either may lie in the other's way."""
    low, high = os.dup(into), os.dup(out)
    low, high = (os.dup2(fd, spare) for fd, spare in ((low, 20), (high, 21)))
    os.dup2(low, 3)
    os.dup2(high, 4)


browser = subprocess.Popen(
    ["chromium", "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
     "--no-first-run", "--lang=en-GB", "--disable-background-networking", "--disable-component-update",
     f"--user-data-dir={profile}", "about:blank"],
    preexec_fn=descriptors, close_fds=False, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
os.close(into)
os.close(out)
pending, number = b"", 0


def call(method, session=None, **parameters):
    global pending, number
    number += 1
    message = {"id": number, "method": method, "params": parameters}
    if session:
        message["sessionId"] = session
    os.write(commands, json.dumps(message).encode() + b"\0")
    while True:
        while b"\0" not in pending:
            chunk = os.read(answers, 1 << 16)
            if not chunk:
                sys.exit("the browser has ended")
            pending += chunk
        one, pending = pending.split(b"\0", 1)
        answer = json.loads(one)
        if answer.get("id") == number:
            return answer["result"]


try:
    target = call("Target.createTarget", url=address)["targetId"]
    session = call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    time.sleep(seconds)
    script = "document.body.innerText + '\\n' + [...document.querySelectorAll('svg')].map(one => one.getAttribute('class')).join('\\n')"
    print(call("Runtime.evaluate", session, expression=script, returnByValue=True)["result"]["value"])
finally:
    browser.terminate()
    browser.wait()
