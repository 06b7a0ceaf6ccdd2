// A service library of which something stays in the process for ever, so that a dynamic linker could hand out the old
// code for the new: with -DKIND=1 thread-locals with destructors, with -DKIND=2 threads of its own, with -DKIND=3 static
// and inline static objects, which C++ unifies between libraries unless told not to.
//
// 19900201 (read) and 29900201 (write) answer with the version as those objects know it. VERSION is one text of eight
// bytes, which tests overwrite in copies of the file.
#include <gantry.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>

namespace {

const GantryHost *platform;

// Read through a volatile pointer, so that no compiler takes it apart.
const char version_text[] = "VERSION=00000000";
const char *volatile version_place = version_text + 8;

std::string version() { return std::string(version_place, 8); }

struct Holder {
    std::string text = version();
    ~Holder() { text.clear(); }
};

#if KIND == 1
thread_local Holder holder;
std::string known() { return holder.text; }
#elif KIND == 2
// Asks a thread that was started with the library, and that never ends.
class Oracle {
  public:
    Oracle() : thread([this] { answer_for_ever(); }) { thread.detach(); }
    std::string ask() {
        std::unique_lock<std::mutex> lock(mutex);
        is_asked = true;
        changed.notify_all();
        changed.wait(lock, [this] { return !is_asked; });
        return answer;
    }

  private:
    void answer_for_ever() {
        thread_local Holder own;
        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            changed.wait(lock, [this] { return is_asked; });
            answer = own.text;
            is_asked = false;
            changed.notify_all();
        }
    }
    std::mutex mutex;
    std::condition_variable changed;
    bool is_asked = false;
    std::string answer;
    std::thread thread;
};
// Never destroyed: its thread goes on.
Oracle &oracle = *new Oracle;
std::string known() { return oracle.ask(); }
#endif

} // namespace

#if KIND == 3
// With external linkage, as a header would have them.
struct Shared {
    static inline std::string inline_static = version();
};
inline std::string inline_variable = version();
template <class T> struct Templated {
    static std::string text;
};
template <class T> std::string Templated<T>::text = version();
inline std::string &function_static() {
    static std::string text = version();
    return text;
}
static std::string known() {
    const std::string all[] = {Shared::inline_static, inline_variable, Templated<int>::text, function_static()};
    for (const std::string &one : all)
        if (one != all[0])
            return "mixed: " + one + " and " + all[0];
    return all[0];
}
#endif

static GantryCode create(const GantryHost *host, GantryCall *, GantryText, void **instance) {
    platform = host;
    *instance = nullptr;
    return GANTRY_OK;
}

static void destroy(void *, GantryCall *) {}

static GantryCode call(void *, GantryCall *call) {
    const std::string text = known();
    uint8_t *room = platform->reply_reserve(call, text.size(), nullptr);
    if (room == nullptr)
        return GANTRY_FAILED;
    std::memcpy(room, text.data(), text.size());
    return platform->reply_commit(call, text.size());
}

static const GantryService services[] = {
    {sizeof(GantryService), 19900201, GANTRY_KIND_READ, 0, 0, 0, GANTRY_TEXT("lasting.read"),
     GANTRY_TEXT("made for the tests of reloading"), {nullptr, 0}, {nullptr, 0}, nullptr, create, call, destroy, nullptr, 0, 0},
    {sizeof(GantryService), 29900201, GANTRY_KIND_WRITE, 0, 0, 0, GANTRY_TEXT("lasting.write"),
     GANTRY_TEXT("made for the tests of reloading"), {nullptr, 0}, {nullptr, 0}, nullptr, create, call, destroy, nullptr, 0, 0},
};

static const GantryLibrary library = {sizeof(GantryLibrary), GANTRY_ABI_MAJOR, GANTRY_ABI_MINOR, GANTRY_MAGIC,
                                      GANTRY_TEXT("lasting"), GANTRY_TEXT("1.0"), {nullptr, 0},
                                      sizeof services / sizeof services[0], 0, services, nullptr};

extern "C" GANTRY_EXPORT const GantryLibrary *gantry_service_entry(void) { return &library; }
