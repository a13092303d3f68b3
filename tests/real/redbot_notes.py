"""What REDbot says of some answers: requests on stdin, their statuses and notes on stdout."""

import json
import sys
from configparser import ConfigParser
from typing import Any

import thor
from redbot.resource import HttpResource  # type: ignore[import-untyped]


def main() -> None:
    parser = ConfigParser()
    parser.read_dict({"redbot": {"enable_local_access": "True"}})
    resources: list[HttpResource] = []
    for method, url, headers in json.load(sys.stdin):
        resource = HttpResource(parser["redbot"])
        resource.set_request(url, method, headers)
        resource.once("check_done", lambda: done(resources))
        resources.append(resource)
    for resource in resources:
        resource.check()
    thor.run()
    json.dump([told(resource) for resource in resources], sys.stdout)


def done(resources: list[Any]) -> None:
    if all(resource.check_done for resource in resources):
        thor.stop()


def told(resource: Any) -> dict[str, Any]:
    # The active checks (ranges, validators) note what they find on their own answers, too.
    answers = [resource, *resource.subreqs.values()]
    return {
        "status": resource.response.status_code,
        "failed": resource.fetch_error and resource.fetch_error.desc,
        "headers": resource.response.headers.text,
        "supports": [resource.partial_support, resource.inm_support, resource.ims_support],
        "notes": sorted(
            {
                (note.level.value, type(note).__name__, note.summary)
                for answer in answers
                for top in answer.response.notes
                for note in [top, *top.subnotes]
            }
        ),
    }


if __name__ == "__main__":
    main()
