#pragma once

#include "../../../src/store/guards.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>

namespace coppice::test {

/// Calls `what` the first time that the store comes to this step.
class AtStep {
public:
    AtStep(std::string_view step, std::function<void()> what)
    {
        wanted = step;
        action = std::move(what);
        store::on_step = [](std::string_view now) {
            if (now == wanted && action) std::exchange(action, nullptr)();
        };
    }
    AtStep(const AtStep&) = delete;
    AtStep& operator=(const AtStep&) = delete;
    ~AtStep()
    {
        store::on_step = nullptr;
        EXPECT_FALSE(std::exchange(action, nullptr)) << "it never came to: " << wanted;
    }

private:
    static inline std::string wanted;
    static inline std::function<void()> action;
};

} // namespace coppice::test
