import logging

# The event loop of the tests tells of every slow step of a busy machine.
logging.getLogger("asyncio").setLevel(logging.ERROR)
