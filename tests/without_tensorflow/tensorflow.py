"""In place of the package, where tests run without it."""

from refused import refuse

refuse(__name__)
