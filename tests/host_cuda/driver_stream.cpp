// Streams, events and graphs of the stand-in driver.
//
// In: work for a stream. Out: that work done, in its order, at the last moment: when somebody waits for it.
// Invariant: one stream's order is kept; between streams that do not wait for each other there is none.

#include "driver.hpp"

#include <algorithm>
#include <chrono>

using namespace host_driver;

namespace {

Stream null_stream;
std::vector<Stream *> streams;

Stream *named(Stream *stream) {
    // The driver API's names for the null stream: 0, 1 (legacy) and 2 (per thread).
    return reinterpret_cast<uintptr_t>(stream) <= 2 ? &null_stream : stream;
}

void run_one(Stream *stream) {
    Work work = std::move(stream->queue.front());
    stream->queue.pop_front();
    work();
}

bool is_known(Stream *stream) {
    return stream == &null_stream || std::find(streams.begin(), streams.end(), stream) != streams.end();
}

void complete(Event *event, uint64_t recorded) {
    while (event->completed < recorded && !event->stream->queue.empty()) run_one(event->stream);
    if (event->completed < recorded) die("an event was waited for that nothing reaches");
}

struct Instance {
    std::vector<Work> work;
};

Result instantiate(Instance **to, Graph *graph) {
    if (!to || !graph) return invalid_value;
    *to = new Instance{graph->work};
    return success;
}

}  // namespace

namespace host_driver {

Result check_no_capture() {
    for (Stream *stream : streams) {
        if (stream->capturing) return stream_capture_unsupported;
    }
    return success;
}

Result enqueue(Stream *stream, Work work) {
    stream = named(stream);
    if (!is_known(stream)) return invalid_handle;
    if (stream->capturing) {
        stream->capturing->work.push_back(std::move(work));
        return success;
    }
    // The null stream and blocking ones do not overtake each other.
    if (stream == &null_stream) {
        if (auto refused = check_no_capture()) return refused;
        for (Stream *other : streams) {
            if (other->is_blocking) finish(other);
        }
    } else if (stream->is_blocking) {
        finish(&null_stream);
    }
    stream->queue.push_back(std::move(work));
    return success;
}

void finish(Stream *stream) {
    stream = named(stream);
    while (!stream->queue.empty()) run_one(stream);
}

void finish_blocking() {
    finish(&null_stream);
    for (Stream *stream : streams) {
        if (stream->is_blocking) finish(stream);
    }
}

void finish_all() {
    finish(&null_stream);
    for (Stream *stream : streams) finish(stream);
}

}  // namespace host_driver

CUDA_CALL(cuStreamCreate)(Stream **to, unsigned flags) {
    ENTER;
    if (!to || flags > 1) return invalid_value;
    *to = new Stream();
    (*to)->is_blocking = flags == 0;
    streams.push_back(*to);
    return success;
}

CUDA_CALL(cuStreamCreateWithPriority)(Stream **to, unsigned flags, int) { return cuStreamCreate(to, flags); }

CUDA_CALL(cuStreamDestroy_v2)(Stream *stream) {
    ENTER;
    if (stream == &null_stream || !is_known(stream)) return invalid_handle;
    // A driver lets the work end; so does this. Events may still name the stream, so it stays in memory.
    finish(stream);
    streams.erase(std::find(streams.begin(), streams.end(), stream));
    return success;
}

CUDA_CALL(cuStreamSynchronize)(Stream *stream) {
    ENTER;
    if (!is_known(named(stream))) return invalid_handle;
    if (named(stream)->capturing) return stream_capture_unsupported;
    note("wait for the stream");
    if (named(stream) == &null_stream) finish_blocking();
    finish(stream);
    return success;
}

CUDA_CALL(cuStreamQuery)(Stream *stream) {
    ENTER;
    stream = named(stream);
    if (!is_known(stream)) return invalid_handle;
    if (stream->capturing) return stream_capture_unsupported;
    if (stream->queue.empty()) return success;
    run_one(stream);
    return not_ready;
}

CUDA_CALL(cuStreamWaitEvent)(Stream *stream, Event *event, unsigned) {
    ENTER;
    if (!event) return invalid_handle;
    uint64_t recorded = event->recorded;
    return enqueue(stream, [=] { complete(event, recorded); });
}

CUDA_CALL(cuLaunchHostFunc)(Stream *stream, void (*function)(void *), void *data) {
    ENTER;
    return enqueue(stream, [=] { function(data); });
}

CUDA_CALL(cuCtxSynchronize)() {
    ENTER;
    if (auto refused = check_no_capture()) return refused;
    finish_all();
    check_guards();
    return success;
}

CUDA_CALL(cuEventCreate)(Event **to, unsigned flags) {
    ENTER;
    if (!to) return invalid_value;
    *to = new Event();
    (*to)->has_time = !(flags & 2);
    static unsigned events = 0;
    (*to)->number = events++;
    return success;
}

CUDA_CALL(cuEventRecord)(Event *event, Stream *stream) {
    ENTER;
    if (!event) return invalid_handle;
    stream = named(stream);
    note("record event " + std::to_string(event->number));
    bool is_captured = is_known(stream) && stream->capturing;
    uint64_t recorded = is_captured ? 0 : event->recorded + 1;
    Result result = enqueue(stream, [=] {
        auto now = std::chrono::steady_clock::now().time_since_epoch();
        event->milliseconds = std::chrono::duration<double, std::milli>(now).count();
        event->completed = std::max(event->completed, recorded);
    });
    if (result == success && !is_captured) {
        event->recorded = recorded;
        event->stream = stream;
    }
    return result;
}

CUDA_CALL(cuEventRecordWithFlags)(Event *event, Stream *stream, unsigned) { return cuEventRecord(event, stream); }

CUDA_CALL(cuEventSynchronize)(Event *event) {
    ENTER;
    if (!event) return invalid_handle;
    note("wait for event " + std::to_string(event->number));
    if (event->stream) complete(event, event->recorded);
    return success;
}

CUDA_CALL(cuEventQuery)(Event *event) {
    ENTER;
    if (!event) return invalid_handle;
    if (event->completed >= event->recorded) return success;
    run_one(event->stream);
    return not_ready;
}

CUDA_CALL(cuEventElapsedTime)(float *to, Event *from, Event *until) {
    ENTER;
    if (!to) return invalid_value;
    for (Event *event : {from, until}) {
        if (!event || !event->has_time || !event->recorded) return invalid_handle;
    }
    if (from->completed < from->recorded || until->completed < until->recorded) return not_ready;
    *to = float(until->milliseconds - from->milliseconds);
    return success;
}

CUDA_CALL(cuEventElapsedTime_v2)(float *to, Event *from, Event *until) {
    return cuEventElapsedTime(to, from, until);
}

// Work that is queued may still name an event, so it stays in memory.
CUDA_CALL(cuEventDestroy_v2)(Event *event) {
    ENTER;
    return event ? success : invalid_handle;
}

CUDA_CALL(cuStreamBeginCapture_v2)(Stream *stream, int) {
    ENTER;
    // The legacy null stream cannot be recorded.
    if (named(stream) == &null_stream) return stream_capture_unsupported;
    if (!is_known(stream)) return invalid_handle;
    if (stream->capturing) return stream_capture_unsupported;
    stream->capturing = new Graph();
    return success;
}

CUDA_CALL(cuStreamEndCapture)(Stream *stream, Graph **to) {
    ENTER;
    if (!is_known(named(stream)) || !to) return invalid_value;
    if (!named(stream)->capturing) return stream_capture_unmatched;
    *to = stream->capturing;
    stream->capturing = nullptr;
    return success;
}

CUDA_CALL(cuStreamIsCapturing)(Stream *stream, int *to) {
    ENTER;
    if (!is_known(named(stream)) || !to) return invalid_value;
    *to = named(stream)->capturing != nullptr;
    return success;
}

CUDA_CALL(cuGraphInstantiateWithFlags)(Instance **to, Graph *graph, unsigned long long) {
    ENTER;
    return instantiate(to, graph);
}

CUDA_CALL(cuGraphInstantiate_v2)(Instance **to, Graph *graph, void **, char *, size_t) {
    ENTER;
    return instantiate(to, graph);
}

CUDA_CALL(cuGraphGetNodes)(Graph *graph, void **nodes, size_t *count) {
    ENTER;
    if (!graph || !count || nodes) return nodes ? not_supported : invalid_value;
    *count = graph->work.size();
    return success;
}

CUDA_CALL(cuGraphUpload)(Instance *instance, Stream *) {
    ENTER;
    return instance ? success : invalid_value;
}

CUDA_CALL(cuGraphLaunch)(Instance *instance, Stream *stream) {
    ENTER;
    if (!instance) return invalid_value;
    if (named(stream)->capturing) return not_supported;
    note("launch a graph of " + std::to_string(instance->work.size()));
    for (const Work &work : instance->work) {
        if (auto refused = enqueue(stream, work)) return refused;
    }
    return success;
}

CUDA_CALL(cuGraphExecDestroy)(Instance *instance) {
    ENTER;
    if (!instance) return invalid_value;
    delete instance;
    return success;
}

CUDA_CALL(cuGraphDestroy)(Graph *graph) {
    ENTER;
    if (!graph) return invalid_value;
    delete graph;
    return success;
}
