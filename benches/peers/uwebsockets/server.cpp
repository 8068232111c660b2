// uWebSockets: echo, and broadcast to everybody, the sender included.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "App.h"

namespace {

constexpr unsigned MESSAGE_BYTES_MAX = 64u << 20;
constexpr std::string_view TOPIC = "everybody";

struct Nothing {};

// What came in during one iteration of the event loop, to be published at its end.
//
// Published from inside the message handler, while the sender's socket holds the only cork buffer, a
// subscriber with more than 32 messages is written to once for each message. Published here, it is
// written to once for up to 32 of them. With few messages in an iteration both cost the same.
struct Pending {
    std::string bytes;
    std::vector<std::pair<size_t, uWS::OpCode>> ends;
};

uWS::App::WebSocketBehavior<Nothing> behavior() {
    uWS::App::WebSocketBehavior<Nothing> behavior;
    behavior.compression = uWS::DISABLED;
    behavior.maxPayloadLength = MESSAGE_BYTES_MAX;
    behavior.maxBackpressure = 4 * MESSAGE_BYTES_MAX;
    behavior.idleTimeout = 120;
    behavior.sendPingsAutomatically = true;
    return behavior;
}

void run(uWS::App &app, int port) {
    app.listen("127.0.0.1", port, [port](auto *socket) {
        if (!socket) {
            std::fprintf(stderr, "cannot listen on port %d\n", port);
            std::exit(1);
        }
    });
    app.run();
}

void echo(int port) {
    uWS::App app;
    auto echoing = behavior();
    echoing.message = [](auto *socket, std::string_view message, uWS::OpCode opcode) {
        socket->send(message, opcode);
    };
    app.ws<Nothing>("/*", std::move(echoing));
    run(app, port);
}

void broadcast(int port) {
    uWS::App app;
    Pending pending;
    auto broadcasting = behavior();
    broadcasting.open = [](auto *socket) { socket->subscribe(TOPIC); };
    broadcasting.message = [&pending](auto *, std::string_view message, uWS::OpCode opcode) {
        pending.bytes.append(message);
        pending.ends.emplace_back(pending.bytes.size(), opcode);
    };
    app.ws<Nothing>("/*", std::move(broadcasting));
    uWS::Loop::get()->addPostHandler(&pending, [&app, &pending](uWS::Loop *) {
        size_t begin = 0;
        for (auto [end, opcode] : pending.ends) {
            app.publish(TOPIC, std::string_view(pending.bytes).substr(begin, end - begin), opcode);
            begin = end;
        }
        pending.bytes.clear();
        pending.ends.clear();
    });
    run(app, port);
}

}  // namespace

int main(int argc, char **argv) {
    int port = 9001;
    std::string_view application = "echo";
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!std::strcmp(argv[i], "--port")) {
            port = std::atoi(argv[i + 1]);
        } else if (!std::strcmp(argv[i], "--app")) {
            application = argv[i + 1];
        }
    }
    if (application == "echo") {
        echo(port);
    } else if (application == "broadcast") {
        broadcast(port);
    } else {
        std::fprintf(stderr, "usage: --port N --app echo|broadcast\n");
        return 2;
    }
}
