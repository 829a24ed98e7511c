// A game server that is nothing but RallyHere's adapter, driven by its public C API (include/game-host-adapter/c_api.h). One line on
// stdout for each thing that the adapter says to its game; its log goes to stderr. The arguments are the adapter's own. The end of
// stdin is the game host's soft stop.
//
//     g++ -std=c++20 -I GAME-HOST-ADAPTER/include/game-host-adapter driver.cpp -L BUILD -lgame-host-adapter -Wl,-rpath,BUILD -o driver
#include "c_api.h"

#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace {

/// What the adapter has said.
struct Heard
{
    bool connected{};
    bool stop{};
};

void logged(RallyHereLogLevel level, const char* message, size_t length, void*)
{
    std::fprintf(stderr, "%d %.*s\n", static_cast<int>(level), static_cast<int>(length), message);
}

void connected(const RallyHereStatusCode& code, void* heard)
{
    std::printf("connected %d\n", static_cast<int>(code));
    static_cast<Heard*>(heard)->connected = code == RH_STATUS_OK;
}

void ready(const RallyHereStatusCode& code, void*)
{
    std::printf("ready %d\n", static_cast<int>(code));
}

std::string value(RallyHereStringMapPtr map, const char* key)
{
    const char* text = "";
    unsigned int size = 0;
    return rallyhere_string_map_get(map, key, &text, &size) == RH_STATUS_OK ? std::string(text, size) : "";
}

void allocated(RallyHereStringMapPtr map, const RallyHereStatusCode& code, void*)
{
    std::printf("allocated %d", static_cast<int>(code));
    if (map != nullptr)
    {
        for (const char* key : {"allocation_id", "session_id", "public_host", "public_port"})
            std::printf(" %s=%s", key, value(map, key).c_str());
        rallyhere_string_map_destroy(map);
    }
    std::printf("\n");
}

void soft_stop(const RallyHereStatusCode& code, void* heard)
{
    std::printf("soft_stop %d\n", static_cast<int>(code));
    static_cast<Heard*>(heard)->stop = true;
}

/// Waits a frame. True at the end of stdin.
bool frame()
{
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, 10) <= 0)
        return false;
    char rest[64];
    return read(STDIN_FILENO, rest, sizeof(rest)) <= 0;
}

} // namespace

int main(int count, char** given)
{
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    std::string arguments;
    for (int i = 1; i < count; ++i)
        arguments += std::string(i > 1 ? " " : "") + given[i];

    rallyhere_global_init();
    Heard heard{};
    RallyHereGameInstanceAdapterPtr adapter = nullptr;
    const auto created = rallyhere_create_game_instance_adapter_with_logger(&adapter, arguments.c_str(), logged, nullptr);
    std::printf("created %d\n", static_cast<int>(created));
    if (created != RH_STATUS_OK)
        return 1;

    rallyhere_on_allocated_callback(adapter, allocated, &heard);
    rallyhere_on_soft_stop_callback(adapter, soft_stop, &heard);
    rallyhere_connect(adapter, connected, &heard);
    bool asked = false;
    bool stopping = false;
    while (!heard.stop)
    {
        const auto code = rallyhere_tick(adapter);
        if (code != RH_STATUS_OK)
            std::printf("tick %d\n", static_cast<int>(code));
        rallyhere_healthy(adapter);
        if (heard.connected && !asked)
        {
            asked = true;
            rallyhere_ready(adapter, ready, &heard);
        }
        if (!stopping && frame())
        {
            stopping = true;
            rallyhere_external_soft_stop_requested(adapter);
        }
    }
    rallyhere_destroy_game_instance_adapter(adapter);
    rallyhere_global_cleanup();
    std::printf("ended\n");
    return 0;
}
