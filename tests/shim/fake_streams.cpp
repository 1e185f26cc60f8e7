/* Streams, events and graphs of the fake CUDA. Work of a stream runs in its order; between streams
 * the order is any that events allow, on purpose a bad one (shim_order): so a wait that is missing
 * changes what comes out. Nothing runs before somebody waits for it; what waits for other processes
 * lets other streams get on. A graph is what was captured: pieces of work, each after those that
 * its stream and its waits name. */
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <memory>
#include <vector>

#include "tests/shim/fake_cuda.h"

struct graph_node {
    std::function<bool()> work;
    std::vector<int> after;
};
struct shim_graph {
    std::vector<graph_node> node;
    std::vector<std::vector<int>> lane; /* the nodes of each stream, in order; 0: the origin's */
};
struct shim_graph_exec {
    std::shared_ptr<shim_graph> graph; /* also of its launches that have not run */
};
struct capture {
    shim_graph graph;
    std::vector<shim_stream *> streams;
    bool lacks = false; /* a wait that was left out */
};
struct item { /* work, or until another stream has got to a place */
    std::function<bool()> work;
    shim_stream *other;
    long place;
};
struct shim_stream {
    std::deque<item> pending;
    long submitted = 0, done = 0;
    std::shared_ptr<capture> captured;
    std::vector<int> tails; /* captured nodes that the next one comes after */
};
struct shim_event {
    shim_stream *stream = nullptr;
    long place = 0;
    std::shared_ptr<capture> captured;
    std::vector<int> tails;
    bool timed = false;
    double time = 0; /* by the shim's clock */
};

/* Seconds: a microsecond for each piece of work, and what work says it took. */
static double now;

void shim_spend(double seconds) {
    now += seconds;
}

static std::vector<shim_stream *> streams;
static std::vector<shim_event *> events;
static long waits, left_out;
static const char *given = std::getenv("SHIM_ORDER");
static uint32_t seed = given ? (uint32_t)std::atoi(given) : 0;
static enum shim_order_kind order = !given || !std::strcmp(given, "late") ? SHIM_ORDER_LATE
                                    : !std::strcmp(given, "early")        ? SHIM_ORDER_EARLY
                                                                          : SHIM_ORDER_ANY;

void shim_order(enum shim_order_kind kind, unsigned first_seed) {
    order = kind;
    seed = first_seed;
}

long shim_waits(void) {
    return waits;
}

void shim_leave_out_wait(long n) {
    left_out = n ? waits + n : 0;
}

static size_t any_below(size_t count) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % count;
}

/* Of candidates in the order of their streams, the one waited for first. */
static size_t choose(size_t count) {
    return order == SHIM_ORDER_LATE ? 0 : order == SHIM_ORDER_EARLY ? count - 1 : any_below(count);
}

/* ---- streams ---- */

static bool ready(const shim_stream *s) {
    return !s->pending.empty() && (!s->pending.front().other ||
                                   s->pending.front().other->done >= s->pending.front().place);
}

/* Tries them as the order has it until one is done; false: all wait, for other processes. */
template <class Candidate, class Try>
static bool any_done(std::vector<Candidate> list, Try attempt) {
    while (!list.empty()) {
        size_t chosen = choose(list.size());
        if (attempt(list[chosen]))
            return true;
        list.erase(list.begin() + (long)chosen);
    }
    return false;
}

static bool run_front(shim_stream *stream) {
    item &next = stream->pending.front();
    if (next.work && !next.work())
        return false;
    stream->pending.pop_front();
    stream->done++;
    now += 1e-6;
    return true;
}

/* One piece of work on the way to that place; false: it waits for other processes. */
static bool step(shim_stream *stream) {
    std::vector<shim_stream *> candidates;
    if (order == SHIM_ORDER_LATE) /* what nobody waits for stays */
        while (!ready(stream))
            stream = stream->pending.front().other;
    if (ready(stream))
        candidates.push_back(stream);
    for (shim_stream *s : streams)
        if (s != stream && order != SHIM_ORDER_LATE && ready(s))
            candidates.push_back(s);
    bool done = any_done(candidates, run_front);
    if (!done)
        sched_yield();
    return done;
}

static void run_until(shim_stream *stream, long place) {
    while (stream->done < place)
        step(stream);
}

void shim_run_all() {
    for (shim_stream *stream : streams)
        run_until(stream, stream->submitted);
}

void shim_run(cudaStream_t stream) {
    run_until(stream, stream->submitted);
}

bool shim_captures(cudaStream_t stream) {
    return stream->captured != nullptr;
}

void shim_enqueue_work(cudaStream_t stream, std::function<bool()> work) {
    if (!stream->captured) {
        stream->pending.push_back({std::move(work), nullptr, 0});
        stream->submitted++;
        return;
    }
    capture *c = stream->captured.get();
    auto at = std::find(c->streams.begin(), c->streams.end(), stream) - c->streams.begin();
    int made = (int)c->graph.node.size();
    c->graph.node.push_back({std::move(work), stream->tails});
    c->graph.lane[(size_t)at].push_back(made);
    stream->tails = {made};
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    CALL(cudaErrorLaunchFailure);
    *stream = new shim_stream();
    streams.push_back(*stream);
    shim_keep(1);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    shim_run_all(); /* others may wait for it */
    std::erase(streams, stream);
    for (shim_event *event : events)
        if (event->stream == stream)
            event->stream = nullptr;
    shim_keep(-1);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    CALL(cudaErrorLaunchFailure);
    run_until(stream, stream->submitted);
    return shim_mend();
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *argument) {
    CALL(cudaErrorLaunchFailure);
    shim_enqueue(stream, [=] { function(argument); });
    return cudaSuccess;
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    CALL(cudaErrorMemoryAllocation);
    *event = new shim_event();
    (*event)->timed = !(flags & cudaEventDisableTiming);
    events.push_back(*event);
    shim_keep(1);
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    std::erase(events, event);
    delete event;
    shim_keep(-1);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    CALL(cudaErrorLaunchFailure);
    if (event->timed)
        shim_enqueue(stream, [event] { event->time = now; });
    event->stream = stream;
    event->place = stream->submitted;
    event->captured = stream->captured;
    event->tails = stream->tails;
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end) {
    CALL(cudaErrorLaunchFailure);
    *milliseconds = (float)(1e3 * (end->time - begin->time));
    return begin->timed && end->timed ? cudaSuccess : cudaErrorInvalidValue;
}

/* In a capture the stream joins it, if it is not there yet. */
static cudaError_t follow_captured(shim_stream *stream, const shim_event *event, bool left) {
    if (!event->captured || (stream->captured && stream->captured != event->captured) ||
        event->captured->streams.empty())
        return cudaErrorStreamCaptureIsolation;
    if (!stream->captured) {
        stream->captured = event->captured;
        stream->captured->streams.push_back(stream);
        stream->captured->graph.lane.emplace_back();
    }
    stream->captured->lacks |= left;
    for (int tail : event->tails)
        if (!left &&
            std::find(stream->tails.begin(), stream->tails.end(), tail) == stream->tails.end())
            stream->tails.push_back(tail);
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    CALL(cudaErrorLaunchFailure);
    bool left = ++waits == left_out;
    if (!event->stream)
        return cudaSuccess;
    if (event->captured || stream->captured)
        return follow_captured(stream, event, left);
    if (left)
        return cudaSuccess;
    stream->pending.push_back({nullptr, event->stream, event->place});
    stream->submitted++;
    return cudaSuccess;
}

/* Work gets on while somebody looks. How often somebody looks for other processes is chance, so
 * that does not count. */
cudaError_t cudaEventQuery(cudaEvent_t event) {
    if (event->captured)
        return cudaErrorStreamCaptureIsolation;
    if (event->stream && event->stream->done < event->place && !step(event->stream))
        return cudaErrorNotReady;
    CALL(cudaErrorLaunchFailure);
    return event->stream && event->stream->done < event->place ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    CALL(cudaErrorLaunchFailure);
    if (event->captured)
        return cudaErrorStreamCaptureIsolation;
    if (event->stream)
        run_until(event->stream, event->place);
    return shim_mend();
}

/* ---- graphs ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    CALL(cudaErrorLaunchFailure);
    stream->captured = std::make_shared<capture>();
    stream->captured->streams.push_back(stream);
    stream->captured->graph.lane.emplace_back();
    return cudaSuccess;
}

/* Whether the origin comes after all that other streams were given. */
static bool joined(const capture &c) {
    std::vector<bool> seen(c.graph.node.size());
    std::vector<int> look = c.streams[0]->tails;
    while (!look.empty()) {
        int node = look.back();
        look.pop_back();
        if (seen[(size_t)node])
            continue;
        seen[(size_t)node] = true;
        const std::vector<int> &after = c.graph.node[(size_t)node].after;
        look.insert(look.end(), after.begin(), after.end());
    }
    for (const std::vector<int> &lane : c.graph.lane)
        if (!lane.empty() && !seen[(size_t)lane.back()])
            return false;
    return true;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    std::shared_ptr<capture> ended = stream->captured;
    bool whole = ended->lacks || joined(*ended);
    for (shim_stream *s : ended->streams) {
        s->captured = nullptr;
        s->tails.clear();
    }
    ended->streams.clear();
    CALL(cudaErrorLaunchFailure);
    if (!whole)
        return cudaErrorStreamCaptureUnjoined;
    *graph = new shim_graph(std::move(ended->graph));
    shim_keep(1);
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
    CALL(cudaErrorLaunchFailure);
    *exec = new shim_graph_exec{std::make_shared<shim_graph>(*graph)};
    shim_keep(1);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    if (graph)
        shim_keep(-1);
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    shim_keep(-1);
    return cudaSuccess;
}

/* A launch under way. */
struct playing {
    std::shared_ptr<shim_graph> graph;
    std::vector<bool> done;
    std::vector<size_t> next; /* of each lane */
    size_t count = 0;
};

static bool play(playing &p) {
    while (p.count < p.graph->node.size()) {
        std::vector<size_t> candidates;
        for (size_t lane = 0; lane < p.next.size(); lane++) {
            if (p.next[lane] == p.graph->lane[lane].size())
                continue;
            const graph_node &node = p.graph->node[(size_t)p.graph->lane[lane][p.next[lane]]];
            if (std::all_of(node.after.begin(), node.after.end(),
                            [&](int n) { return p.done[(size_t)n]; }))
                candidates.push_back(lane);
        }
        auto attempt = [&](size_t lane) {
            size_t node = (size_t)p.graph->lane[lane][p.next[lane]];
            if (!p.graph->node[node].work())
                return false;
            p.done[node] = true;
            p.next[lane]++;
            p.count++;
            return true;
        };
        if (!any_done(candidates, attempt))
            return false;
    }
    return true;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    CALL(cudaErrorLaunchFailure);
    playing p = {exec->graph, std::vector<bool>(exec->graph->node.size()),
                 std::vector<size_t>(exec->graph->lane.size())};
    shim_enqueue_work(stream, [p]() mutable { return play(p); });
    return cudaSuccess;
}
