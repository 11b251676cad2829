"""amqtt on a loopback port for everybody with a name, whom alone it keeps messages for. Found through PYTHONPATH."""

import asyncio
import sys

from amqtt.broker import Broker


async def serve(port: int) -> None:
    listener = {"type": "tcp", "bind": f"127.0.0.1:{port}"}
    named = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": False}}
    await Broker({"listeners": {"default": listener}, "plugins": named}).start()
    await asyncio.Event().wait()


asyncio.run(serve(int(sys.argv[1])))
