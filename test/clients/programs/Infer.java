import org.openapitools.client.ApiClient;
import org.openapitools.client.api.InferenceApi;
import org.openapitools.client.auth.ApiKeyAuth;
import org.openapitools.client.model.ActionChunk;
import org.openapitools.client.model.ActionShape;
import org.openapitools.client.model.InferenceOptions;
import org.openapitools.client.model.Observation;

public class Infer {
  public static void main(String[] args) throws Exception {
    ApiClient client = new ApiClient().setBasePath(args[0]);
    ApiKeyAuth auth = (ApiKeyAuth) client.getAuthentication("apiKey");
    auth.setApiKeyPrefix("Api-Key");
    auth.setApiKey(args[1]);
    InferenceApi api = new InferenceApi(client);
    ActionShape shape = api.metadata().getShape();
    Observation observation = Observation.fromJson(args[2]);
    observation.options(new InferenceOptions().seed(4294967295L).numSteps(2));
    ActionChunk chunk = api.infer(observation);
    int rows = chunk.getActions().size();
    int size = chunk.getActions().get(0).size();
    if (chunk.getSeed() != 4294967295L) throw new Exception("seed " + chunk.getSeed());
    if (rows != shape.getHorizon() || size != shape.getActionSize()) throw new Exception("shape");
    System.out.println(rows + " × " + size + " actions");
  }
}
