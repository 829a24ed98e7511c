#!/bin/sh
# Whether the cloud is about to take this machine away: for shutdown.notice.
#     notice = ["/usr/lib/rallyhere-agent/termination-notice", "ec2"]      # or "gce", "azure"
# Exit code 113: it is; the line that is printed is the reason. 0: it is not. Anything else: nobody could say.
# Set shutdown.drain_timeout to what is left then: EC2 says it 2 minutes before, Google and Azure 30 seconds. Needs curl.
set -u
at=${METADATA:-http://169.254.169.254}

ask() { curl --silent --show-error --noproxy '*' --max-time 3 "$@"; }
ends() { echo "$1"; exit 113; }

case ${1:-} in
ec2)
    token=$(ask --fail -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$at/latest/api/token") || exit 1
    # 404 until there is an action.
    status=$(ask --output /dev/null --write-out '%{http_code}' -H "X-aws-ec2-metadata-token: $token" \
        "$at/latest/meta-data/spot/instance-action") || exit 1
    case $status in
    200) ends "EC2 takes this spot instance back" ;;
    404) exit 0 ;;
    esac
    echo "EC2's metadata answered $status"
    exit 1
    ;;
gce)
    answer=$(ask --fail -H 'Metadata-Flavor: Google' "$at/computeMetadata/v1/instance/preempted") || exit 1
    case $answer in
    TRUE) ends "Google takes this machine back" ;;
    FALSE) ;;
    *) echo "Google's metadata answered something else"; exit 1 ;;
    esac
    answer=$(ask --fail -H 'Metadata-Flavor: Google' "$at/computeMetadata/v1/instance/maintenance-event") || exit 1
    # A machine that is moved while it runs (MIGRATE_...) goes on.
    [ "$answer" != TERMINATE_ON_HOST_MAINTENANCE ] || ends "Google ends this machine for maintenance"
    ;;
azure)
    name=$(ask --fail -H 'Metadata: true' "$at/metadata/instance/compute/name?api-version=2021-02-01&format=text") || exit 1
    events=$(ask --fail -H 'Metadata: true' "$at/metadata/scheduledevents?api-version=2020-07-01") || exit 1
    # The events of a whole scale set come, one {...} each; a freeze of some seconds is none of ours.
    if echo "$events" | tr -d ' \n' | tr '}' '\n' | grep -E '"EventType":"(Preempt|Terminate|Reboot|Redeploy)"' |
        grep -q "\"$name\""; then
        ends "Azure ends this machine"
    fi
    ;;
*)
    echo "usage: $0 ec2|gce|azure"
    exit 2
    ;;
esac
