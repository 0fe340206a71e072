// Kafka's command-line tools, one after the other in one Java machine: a line {class, words, input} runs the tool's own main
// and is answered with {exit, out, err}.

import com.fasterxml.jackson.databind.JsonNode;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.StreamSupport;
import org.apache.kafka.common.utils.Exit;

class Tools {
    /** A tool has asked for the end of the process. */
    static class Ended extends Error {
        final int status;

        Ended(int status) {
            super("exit " + status);
            this.status = status;
        }
    }

    /** The tool's status, if it has asked for the end: some catch what they throw themselves. */
    static volatile Integer asked;

    static final List<Runnable> hooks = new CopyOnWriteArrayList<>();

    public static void main(String[] none) throws Exception {
        PrintStream said = System.out;
        var lines = new BufferedReader(new InputStreamReader(System.in));
        Exit.Procedure end = (status, message) -> {
            if (asked == null) {
                asked = status;
            }
            throw new Ended(status);
        };
        Exit.setExitProcedure(end);
        Exit.setHaltProcedure(end);
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode order = Exchange.JSON.readTree(line);
            var out = new ByteArrayOutputStream();
            var err = new ByteArrayOutputStream();
            System.setIn(new ByteArrayInputStream(order.get("input").asText().getBytes(StandardCharsets.UTF_8)));
            System.setOut(new PrintStream(out, true));
            System.setErr(new PrintStream(err, true));
            int exit = run(order);
            // What a tool does at the end of its process.
            hooks.forEach(Runnable::run);
            hooks.clear();
            System.out.flush();
            System.err.flush();
            var answer = Exchange.JSON.createObjectNode().put("exit", exit);
            said.println(answer.put("out", out.toString()).put("err", err.toString()));
        }
        // What a tool has left running must not keep us.
        Runtime.getRuntime().halt(0);
    }

    static int run(JsonNode order) throws Exception {
        String[] words = StreamSupport.stream(order.get("words").spliterator(), false)
            .map(JsonNode::asText).toArray(String[]::new);
        asked = null;
        try {
            Class.forName(order.get("class").asText()).getMethod("main", String[].class).invoke(null, (Object) words);
        } catch (InvocationTargetException thrown) {
            if (!(thrown.getCause() instanceof Ended)) {
                thrown.getCause().printStackTrace();
                return 1;
            }
        }
        return asked == null ? 0 : asked;
    }
}
